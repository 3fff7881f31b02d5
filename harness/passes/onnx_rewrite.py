"""Rewriting the ONNX graph of an artifact: prepare, change, count, replace the file in one step."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import EXTERNAL_DATA_BYTES, MODEL_FILE, PRECISION_KEY, external_files
from harness.passes.base import Change

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Attention", "Conv", "ConvTranspose", "Gemm", "LSTM", "MatMul")
_QUANTIZED = {
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
    "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
}  # fmt: skip
OPSET = 13  # the first in which (De)QuantizeLinear takes a scale per channel


def weighted(graph: onnx.GraphProto) -> list[str]:
    """Return the operators of all layers that compute products, those of two activations included."""
    return [node.op_type for node in nodes_of(graph) if node.op_type in WEIGHTED]


@dataclass(frozen=True)
class Rewriting:
    """How a pass changes a graph.

    Attributes:
        name: of the pass.
        change: writes the new model: ``(prepared model, target, whether weights go to a file of their own)``.
        changed: counts the layers of the new graph that are as the pass wants them.
        precision: number formats in which the new model computes; from the layers changed and those there are.
        layers: operators of the layers that could be changed, one entry a layer.
        verb: what happened to them.
    """

    name: str
    change: Callable[[Path, Path, bool], None]
    changed: Callable[[onnx.GraphProto], int]
    precision: Callable[[int, int], str]
    layers: Callable[[onnx.GraphProto], list[str]] = weighted
    verb: str = "quantized"


def rewrite(directory: Path, how: Rewriting) -> Change:
    """Rewrite ``model.onnx`` and say how many layers were changed; the model then tells its number format.

    The file is replaced in one step, external data included; nothing temporary stays. Raises
    InvalidOutputError, with the artifact untouched, when no layer could be changed, and UnsupportedError
    when the model is quantized already or ONNX Runtime's tools cannot take its graph.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = directory / MODEL_FILE
    external = model_size(source) > EXTERNAL_DATA_BYTES
    with tempfile.TemporaryDirectory(prefix=".rewrite-", dir=directory) as temporary:
        prepared = Path(temporary) / "prepared.onnx"
        refuse_quantized(source)
        modern = _at_least_opset(source, OPSET, Path(temporary) / "modern.onnx")
        # The exporter wrote all shapes; symbolic inference would only fail on operators it does not know.
        quant_pre_process(
            modern,
            prepared,
            skip_symbolic_shape=True,
            save_as_external_data=external,
            all_tensors_to_one_file=True,
        )
        target = Path(temporary) / _free_name(directory)
        try:
            how.change(prepared, target, external)
        except (KeyError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            raise UnsupportedError(
                f"ONNX Runtime's quantizer cannot take this graph: {type(error).__name__}: {error}"
            ) from error
        layers = how.layers(onnx.load(str(prepared), load_external_data=False).graph)
        # Quantizers leave the graphs inside If and Loop alone; what they hold is counted as not changed.
        done = how.changed(onnx.load(str(target), load_external_data=False).graph)
        detail = f"{done} of {len(layers)} {'/'.join(sorted(set(layers))) or 'layers'} {how.verb}"
        if not done:
            raise InvalidOutputError(f"{how.name} changed nothing: {detail}")
        tell_precision(target, how.precision(done, len(layers)))
        replace_model(source, target)
    return Change(detail, done, len(layers))


def tell_precision(model: Path, precision: str) -> None:
    """Write into a model's metadata in which number formats it computes, for the session to tell."""
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    onnx.helper.set_model_props(loaded, {**{p.key: p.value for p in loaded.metadata_props}, PRECISION_KEY: precision})
    model.write_bytes(loaded.SerializeToString())


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from nodes_of(inner)


def has_attention(graph: Any) -> bool:
    """Whether a softmax's output is a factor of a product, seen through operators that only move or choose numbers.

    One that chooses is PyTorch's guard for rows that a mask empties: ``Where(IsNaN(p), 0, p)``.
    """
    made = {output: node for node in graph.node for output in node.output}

    @functools.cache  # choices may share what they choose from
    def from_softmax(name: str) -> bool:
        if name not in made:
            return False
        node = made[name]
        if node.op_type == "Where":
            return any(from_softmax(choice) for choice in node.input[1:])
        moves = node.op_type in ("Cast", "Dropout", "Identity", "Reshape", "Transpose")
        return node.op_type == "Softmax" or (moves and from_softmax(node.input[0]))

    return any(
        node.op_type in ("Attention", "MultiHeadAttention")
        or (node.op_type == "MatMul" and any(map(from_softmax, node.input)))
        for node in graph.node
    )


def refuse_quantized(model: Path) -> None:
    """Raise UnsupportedError when a model holds quantized operators already, or was cast to float16."""
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    graph = loaded.graph
    if any(entry.key == PRECISION_KEY and entry.value.startswith("float16") for entry in loaded.metadata_props):
        raise UnsupportedError("the model is cast to float16 already: quantize or cast it, not both")
    found = sorted({node.op_type for node in graph.node if node.op_type in _QUANTIZED})
    if found:
        raise UnsupportedError(f"the model is quantized already: it holds {', '.join(found)}")


def _at_least_opset(model: Path, opset: int, target: Path) -> Path:
    """Return a model of at least this opset: the file itself, or one converted to ``target``.

    Raises UnsupportedError when onnx cannot convert it.
    """
    import onnx

    loaded = onnx.load(str(model))
    version = next((item.version for item in loaded.opset_import if item.domain in ("", "ai.onnx")), opset)
    if version >= opset:
        return model
    try:
        converted = onnx.version_converter.convert_version(loaded, opset)
    except Exception as error:  # the converter's own errors share no base class
        raise UnsupportedError(
            f"INT8 with a scale per channel needs opset {opset}, and this model of opset {version} "
            f"cannot be converted: {str(error).splitlines()[0]}"
        ) from error
    onnx.save(converted, str(target))
    return target


def model_size(model: Path) -> int:
    """Return the bytes of a model with the files that hold its weights."""
    return sum(path.stat().st_size for path in (model, *external_files(model)))


def _free_name(directory: Path) -> str:
    """Return a name for a model whose external data (same name and ``.data``) would hide no file."""
    names = (f"model.{i}.onnx" for i in itertools.count(1))
    return next(name for name in names if not (directory / f"{name}.data").exists())


def replace_model(old: Path, new: Path) -> None:
    """Put a model in another's place: its data first, then the graph in one step, then the old data goes."""
    stale = external_files(old)
    for path in external_files(new):
        path.replace(old.parent / path.name)
    new.replace(old)
    for path in stale:
        path.unlink()
