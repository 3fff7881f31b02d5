"""Weight-only quantization of ONNX graphs by ONNX Runtime's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.passes.base import Change
from harness.passes.onnx_rewrite import WEIGHTED, Rewriting, nodes_of, rewrite

if TYPE_CHECKING:
    import onnx

INT8_GROUP = 32  # weights that share a scale; on MiniLM 128 is 14 % faster at 1.6 times the error
_LEVELS = {"float32": 1, "int8": 4, "auto": 4}  # MatMulNBits' accuracy_level, the format of its products


def weight_only(
    name: str, directory: Path, compute: str, *, bits: int, symmetric: bool, group_size: int = INT8_GROUP
) -> Change:
    """Replace products with constant weights by ``MatMulNBits``, and count those of all layers with weights.

    The operator holds the weights in groups along the summed axis, each with a scale. With ``compute`` ``int8`` its
    kernel quantizes the activations group by group at every call.
    """

    def change(source: Path, target: Path, external: bool) -> None:
        import onnx
        from onnxruntime.quantization import matmul_nbits_quantizer as nbits

        model = onnx.load(str(source))
        gemm_to_matmul(model.graph)
        config = nbits.DefaultWeightOnlyQuantConfig(
            block_size=group_size, is_symmetric=symmetric, accuracy_level=_LEVELS[compute], bits=bits
        )
        quantizer = nbits.MatMulNBitsQuantizer(model, bits=bits, algo_config=config)
        quantizer.process()
        quantizer.model.save_model_to_file(str(target), external)

    products, rest = ("float32", "") if compute == "float32" else ("int8", " and float32")
    return rewrite(
        directory,
        Rewriting(
            name,
            change,
            lambda graph: sum(node.op_type == "MatMulNBits" for node in nodes_of(graph)),
            lambda done, of: f"int{bits} weights, {products}{'' if done >= of else rest}",
            layers=_with_weights,
            verb=f"have INT{bits} weights",
        ),
    )


def _with_weights(graph: onnx.GraphProto) -> list[str]:
    """Return the operators of all layers whose weights are constants."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {out for node in nodes_of(graph) if node.op_type == "Constant" for out in node.output}
    return [node.op_type for node in nodes_of(graph) if node.op_type in WEIGHTED and node.input[1] in constants]


def gemm_to_matmul(graph: Any) -> None:
    """Write every plain ``Gemm`` with constant weights as ``MatMul`` and ``Add``, in place.

    PyTorch's exporter writes linear layers on two-dimensional inputs as Gemm, which the quantizer passes over.
    """
    import onnx

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "Gemm" or node.input[1] not in tensors or not _plain(node):
            nodes.append(node)
            continue
        weight = node.input[1]
        if _attribute(node, "transB", 0):
            weight += "_transposed"
            if weight not in tensors:
                array = np.ascontiguousarray(onnx.numpy_helper.to_array(tensors[node.input[1]]).T)
                tensors[weight] = onnx.numpy_helper.from_array(array, weight)
                graph.initializer.append(tensors[weight])
        biased = len(node.input) > 2 and node.input[2] != ""
        product = f"{node.output[0]}_product" if biased else node.output[0]
        label = node.name or node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weight], [product], name=label))
        if biased:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{label}_bias"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes_of(graph) for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _plain(node: Any) -> bool:
    """Whether a Gemm is a product plus a bias, nothing scaled."""
    return not _attribute(node, "transA", 0) and _attribute(node, "alpha", 1.0) == _attribute(node, "beta", 1.0) == 1.0


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
