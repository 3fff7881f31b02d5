"""Quantization of ONNX graphs by ONNX Runtime's own tools."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import EXTERNAL_DATA_BYTES, MODEL_FILE, external_files
from harness.passes.base import BuildContext, Change

if TYPE_CHECKING:
    import onnx

CALIBRATION_BATCH = 32

WEIGHTED = ("Attention", "Conv", "ConvTranspose", "Gemm", "LSTM", "MatMul")
_QUANTIZED = {
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
    "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
}  # fmt: skip
OPSET = 13  # the first in which (De)QuantizeLinear takes a scale per channel
_DYNAMIC = ("ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger", "QAttention")


def static_int8(directory: Path, context: BuildContext, calibration: str, examples: int, activations: str) -> Change:
    """Write Q/DQ pairs around the computing layers of ``model.onnx`` and count those that became INT8."""
    count = min(examples, len(context.data("calibration")))

    def quantize(source: Path, target: Path, external: bool) -> None:
        _quantize_static(source, target, lambda: _reader(context, count), calibration, activations, external)

    change = _rewrite("quantize.static-int8", directory, quantize, _statically_quantized)
    return replace(change, detail=f"{change.detail}, ranges by {calibration} over {count} examples")


def dynamic_int8(directory: Path) -> Change:
    """Replace matrix products of ``model.onnx`` by those that quantize their activations, and count them.

    Convolutions are quantized as well, as ONNX Runtime does by default, and its ConvInteger kernel is slower
    than FP32.
    """

    def quantize(source: Path, target: Path, external: bool) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            source, target, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=external
        )

    return _rewrite("quantize.dynamic-int8", directory, quantize, _dynamically_quantized)


def _rewrite(
    name: str,
    directory: Path,
    quantize: Callable[[Path, Path, bool], None],
    quantized: Callable[[onnx.GraphProto], int],
) -> Change:
    """Prepare the graph, quantize it, count the layers, and replace the file at once.

    The file is replaced in one step, external data included; nothing temporary stays. Raises
    InvalidOutputError, with the artifact untouched, when no node could be quantized, and UnsupportedError
    when the model is quantized already or ONNX Runtime's quantizer cannot take its graph.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = directory / MODEL_FILE
    external = _size(source) > EXTERNAL_DATA_BYTES
    with tempfile.TemporaryDirectory(prefix=".quantize-", dir=directory) as temporary:
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
            quantize(prepared, target, external)
        except (KeyError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            raise UnsupportedError(
                f"ONNX Runtime's quantizer cannot take this graph: {type(error).__name__}: {error}"
            ) from error
        before = onnx.load(str(prepared), load_external_data=False).graph
        # Quantizers leave the graphs inside If and Loop alone; what they hold is counted as not quantized.
        done = quantized(onnx.load(str(target), load_external_data=False).graph)
        weighted = [node.op_type for node in nodes_of(before) if node.op_type in WEIGHTED]
        detail = f"{done} of {len(weighted)} {'/'.join(sorted(set(weighted))) or 'layers'} quantized"
        if not done:
            raise InvalidOutputError(f"{name} changed nothing: {detail}")
        _replace(source, target)
    return Change(detail, done, len(weighted))


def _quantize_static(
    source: Path, target: Path, reader: Any, calibration: str, activations: str, external: bool
) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }

    def quantize(**more: Any) -> None:
        quantize_static(
            source,
            target,
            reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8 if activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=external,
            calibrate_method=methods[calibration],
            **more,
        )

    try:
        quantize()
    except ValueError:
        # Its adjustment of weights to small biases compares arrays as if they were numbers (1.32).
        quantize(extra_options={"QDQDisableWeightAdjustForInt32Bias": True})


def _statically_quantized(graph: onnx.GraphProto) -> int:
    """Count the layers whose two factors both come from integers."""
    restored = {out for node in graph.node if node.op_type == "DequantizeLinear" for out in node.output}
    weighted = (node for node in graph.node if node.op_type in WEIGHTED)
    return sum(all(name in restored for name in node.input[:2]) for node in weighted)


def _dynamically_quantized(graph: onnx.GraphProto) -> int:
    return sum(node.op_type in _DYNAMIC for node in graph.node)


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from nodes_of(inner)


def refuse_quantized(model: Path) -> None:
    """Raise UnsupportedError when a model holds quantized operators already."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
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


def _reader(context: BuildContext, count: int) -> Any:
    """Return a calibration data reader over the first ``count`` examples.

    All batches have one size, because the histograms of entropy and percentile stack them.
    """
    from onnxruntime.quantization import CalibrationDataReader

    split = context.data("calibration")
    names = context.model.input_names
    size = 1 if split.stacked else max(n for n in range(1, CALIBRATION_BATCH + 1) if count % n == 0)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its base is untyped
        def __init__(self) -> None:
            self._batches: Iterator[dict[str, Any]] = (
                dict(zip(names, split.batch(size, start), strict=True)) for start in range(0, count, size)
            )

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    return Reader()


def _size(model: Path) -> int:
    return sum(path.stat().st_size for path in (model, *external_files(model)))


def _free_name(directory: Path) -> str:
    """Return a name for a model whose external data (same name and ``.data``) would hide no file."""
    names = (f"model.{i}.onnx" for i in itertools.count(1))
    return next(name for name in names if not (directory / f"{name}.data").exists())


def _replace(old: Path, new: Path) -> None:
    """Put a model in another's place: its data first, then the graph in one step, then the old data goes."""
    stale = external_files(old)
    for path in external_files(new):
        path.replace(old.parent / path.name)
    new.replace(old)
    for path in stale:
        path.unlink()
