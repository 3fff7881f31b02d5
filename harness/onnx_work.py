"""Counts the arithmetic of an ONNX graph for concrete inputs, and the bytes of its weights.

Shapes come from onnx's inference; those it cannot infer are found by running the graph once with ``Shape`` nodes on
the tensors in question.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backends.base import Arrays
from harness.errors import HarnessError

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


class NotCountable(HarnessError):
    """The arithmetic cannot be counted; the message says why."""


# operator → where its left and right operands stand among the inputs
_OPERANDS = {
    "Conv": (0, 1), "FusedConv": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3), "ConvTranspose": (0, 1),
    "MatMul": (0, 1), "FusedMatMul": (0, 1), "MatMulInteger": (0, 1), "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1), "FusedGemm": (0, 1), "QGemm": (0, 3),
    "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2), "MatMulNBits": (0, 0), "Einsum": (0, 1),
}  # fmt: skip
# May hold most of a model's arithmetic and are not counted: their bodies, or their kernels, are not in the graph.
_HEAVY = {
    "If", "Loop", "Scan", "Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention", "DeformConv",
    "DynamicQuantizeLSTM", "PackedAttention", "DecoderAttention", "LongformerAttention", "MoE", "DFT", "STFT",
}  # fmt: skip
# Compute nothing, or next to it.
_MOVES = {
    "Constant", "ConstantOfShape", "Shape", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat",
    "Slice", "Split", "Gather", "Identity", "Cast", "Expand", "Pad", "Size", "Range", "Dropout", "Tile",
}  # fmt: skip


def count_graph(path: Path, inputs: Arrays) -> tuple[float, tuple[str, ...]]:
    """Return the operations of one run on ``inputs``, and the operators whose arithmetic is left out.

    Raises NotCountable when the graph holds an operator that may be heavy and has no formula, or a shape stays unknown.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    nodes = _nodes(model.graph)
    heavy = sorted({n.op_type for n in nodes if n.op_type in _HEAVY or (n.op_type in _OPERANDS and not _known(n))})
    if heavy:
        raise NotCountable(f"the arithmetic of {', '.join(heavy)} in the ONNX graph has no formula here")
    counted = [node for node in nodes if node.op_type in _OPERANDS]
    wanted = {name for node in counted for name in _needed(node)}
    shapes = _shapes(path, model, inputs, wanted)
    passed_over = Counter(n.op_type for n in nodes if n.op_type not in _OPERANDS and n.op_type not in _MOVES)
    total = sum(_operations(node, shapes) for node in counted)
    return float(total), tuple(name for name, _ in passed_over.most_common())


def graph_weights(path: Path) -> Counter[str]:
    """Return the bytes of a graph's initializers and constants by number format; none is read."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    tensors = list(graph.initializer)
    for node in _nodes(graph):
        if node.op_type == "Constant":
            tensors += [a.t for a in node.attribute if a.name == "value"]
    found: Counter[str] = Counter()
    for tensor in tensors:
        name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        found[_FORMATS.get(name, name)] += math.ceil(math.prod(tensor.dims) * _bits(name) / 8)
    return found


_FORMATS = {"float": "float32", "double": "float64", "uint8": "int8"}


def _bits(name: str) -> int:
    """Return the size of a number format of ONNX, such as ``float8e4m3fn`` or ``int64``."""
    digits = {"float": 32, "double": 64, "bool": 8, "bfloat16": 16, "complex64": 64, "complex128": 128, "string": 0}
    if name in digits:
        return digits[name]
    width = "".join(c for c in name.removeprefix("u").removeprefix("int").removeprefix("float")[:2] if c.isdigit())
    return int(width or 0)


def _nodes(graph: Any) -> list[onnx.NodeProto]:
    return list(graph.node)


def _known(node: Any) -> bool:
    """Whether a counted operator is in a form that the formula holds for."""
    return node.op_type != "Einsum" or (len(node.input) == 2 and b"." not in _attribute(node, "equation", b""))


def _needed(node: Any) -> tuple[str, ...]:
    left, right = (node.input[i] for i in _OPERANDS[node.op_type])
    return (left, right, node.output[0]) if node.output[0] else (left, right)


def _operations(node: Any, shapes: Mapping[str, Shape]) -> int:
    """Return twice the number of multiply-adds of one node."""
    left, right = (shapes[node.input[i]] for i in _OPERANDS[node.op_type])
    kind = node.op_type
    if kind == "ConvTranspose":  # every input value meets every weight of its group
        return 2 * math.prod(left) * math.prod(right[1:])
    if kind in ("LSTM", "GRU", "RNN"):  # left, right: weights on the input and on the state; all steps alike
        steps = math.prod(shapes[node.input[0]][:2])
        return 2 * steps * (math.prod(left) + math.prod(right))
    if kind == "Einsum":
        return 2 * _labels_product(_attribute(node, "equation", b"").decode(), left, right)
    out = math.prod(shapes[node.output[0]])
    if kind in ("Conv", "FusedConv", "ConvInteger", "QLinearConv"):
        return 2 * out * math.prod(right[1:])
    if kind == "MatMulNBits":
        return 2 * out * int(_attribute(node, "K", 0))
    if kind in ("Gemm", "FusedGemm", "QGemm") or (kind == "FusedMatMul" and _attribute(node, "transA", 0)):
        return 2 * out * left[-2 if _attribute(node, "transA", 0) else -1]
    return 2 * out * left[-1]


def _labels_product(equation: str, left: Shape, right: Shape) -> int:
    first, second = equation.replace(" ", "").partition("->")[0].split(",")
    sizes = dict(zip(first + second, (*left, *right), strict=True))
    return math.prod(sizes.values())


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _shapes(path: Path, model: Any, inputs: Arrays, wanted: set[str]) -> dict[str, Shape]:
    """Return the concrete shapes of ``wanted`` tensors; raises NotCountable where one stays unknown."""
    wanted = wanted | {node.input[0] for node in model.graph.node if node.op_type in ("LSTM", "GRU", "RNN")}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in shapes]
    shapes |= {value.name: array.shape for value, array in zip(fed, inputs, strict=True)}
    if wanted - shapes.keys():
        shapes = {**_inferred(model, fed, inputs), **shapes}
    if unknown := sorted(wanted - shapes.keys()):
        shapes |= _observed(path, unknown, inputs)
    return shapes


def _inferred(model: Any, fed: Sequence[Any], inputs: Arrays) -> dict[str, Shape]:
    """Return the shapes that onnx infers for these inputs; what the file itself says may be of another batch size."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    names = {value.name: array.shape for value, array in zip(fed, inputs, strict=True)}
    for value in fixed.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, names.get(value.name, ()), strict=False):
            axis.dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    except Exception:  # noqa: BLE001 (its own errors share no base class; what it cannot say is observed)
        return {}
    return {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
        and all(axis.HasField("dim_value") for axis in value.type.tensor_type.shape.dim)
    }


def _observed(path: Path, names: Sequence[str], inputs: Arrays) -> dict[str, Shape]:
    """Run the graph once and return the shapes of some tensors in it."""
    import onnx

    from harness.onnx_inputs import run_session

    try:
        model = onnx.load(str(path))
        del model.graph.output[:]
        for index, name in enumerate(names):
            model.graph.node.append(onnx.helper.make_node("Shape", [name], [f"harness_shape_{index}"]))
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(f"harness_shape_{index}", onnx.TensorProto.INT64, None)
            )
        found = run_session(_opened(model.SerializeToString()), inputs)
    except Exception as error:
        raise NotCountable(f"the shape of {names[0]} in the ONNX graph stays unknown: {error}") from error
    return {name: tuple(int(size) for size in shape) for name, shape in zip(names, found, strict=True)}


def _opened(serialized: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
