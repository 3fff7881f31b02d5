"""INT8 quantization of lowered models: ONNX graphs, rewritten by ONNX Runtime's own tools."""

from __future__ import annotations

import itertools
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import EXTERNAL_DATA_BYTES, MODEL_FILE, external_files
from harness.passes.base import BuildContext, Change, Pass, register, require_count
from harness.schema import Fidelity

if TYPE_CHECKING:
    import onnx

CALIBRATION_BATCH = 32

Calibration = Literal["minmax", "entropy", "percentile"]

_WEIGHTED = ("Attention", "Conv", "ConvTranspose", "Gemm", "LSTM", "MatMul")
_QUANTIZED = {
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
    "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear",
}  # fmt: skip
OPSET = 13  # the first in which (De)QuantizeLinear takes a scale per channel
_DYNAMIC = ("ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger", "QAttention")


class _OnnxQuantization(Pass):
    """What the two ONNX Runtime quantizers share: prepare, quantize, count, replace the file at once."""

    form = "lowered"
    fidelity = Fidelity.QUANTIZED
    precision = "int8"
    distributions = ("onnxruntime", "onnx")
    extra = "onnxruntime"
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "torch": "eager PyTorch has no INT8 path that it still maintains",
        "inductor": "INT8 by PT2E and torchao is not implemented yet",
        "openvino": "INT8 by NNCF is not implemented yet",
    }

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite ``model.onnx`` and say how many nodes became INT8.

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
            _refuse_quantized(source)
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
                calibration = self._quantize(prepared, target, external, context)
            except (KeyError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
                raise UnsupportedError(
                    f"ONNX Runtime's quantizer cannot take this graph: {type(error).__name__}: {error}"
                ) from error
            before = onnx.load(str(prepared), load_external_data=False).graph
            # Quantizers leave the graphs inside If and Loop alone; what they hold is counted as not quantized.
            after = onnx.load(str(target), load_external_data=False).graph
            weighted = [node.op_type for node in _nodes(before) if node.op_type in _WEIGHTED]
            quantized = self._count(after)
            detail = f"{quantized} of {len(weighted)} {'/'.join(sorted(set(weighted))) or 'layers'} quantized"
            if not quantized:
                raise InvalidOutputError(f"{self.name} changed nothing: {detail}")
            _replace(source, target)
        return Change(detail + calibration, quantized, len(weighted))

    @abstractmethod
    def _quantize(self, source: Path, target: Path, external: bool, context: BuildContext) -> str:
        """Write the quantized model; return what the detail line shall add."""

    @abstractmethod
    def _count(self, graph: onnx.GraphProto) -> int:
        """Return the number of nodes that compute in INT8."""


@register
@dataclass(frozen=True)
class QuantizeStaticInt8(_OnnxQuantization):
    """INT8 weights (per channel) and UINT8 activations, whose ranges come from the calibration split.

    ``examples`` are taken from the split's beginning; where it holds fewer, all of them.
    """

    name = "quantize.static-int8"
    summary = "INT8 weights and activations with ranges from calibration data"

    calibration: Calibration = "minmax"
    examples: int = 256

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        if self.calibration not in get_args(Calibration):
            known = ", ".join(get_args(Calibration))
            raise ValueError(f"calibration must be one of {known}, got {self.calibration!r}")
        require_count("examples", self.examples)

    def _quantize(self, source: Path, target: Path, external: bool, context: BuildContext) -> str:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        methods = {
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }
        count = min(self.examples, len(context.data("calibration")))

        def quantize(**more: Any) -> None:
            quantize_static(
                source,
                target,
                _reader(context, count),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # Unsigned activations with signed weights: the one pair with fast x86 kernels.
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                use_external_data_format=external,
                calibrate_method=methods[self.calibration],
                **more,
            )

        try:
            quantize()
        except ValueError:
            # Its adjustment of weights to small biases compares arrays as if they were numbers (1.32).
            quantize(extra_options={"QDQDisableWeightAdjustForInt32Bias": True})
        return f", ranges by {self.calibration} over {count} examples"

    def _count(self, graph: onnx.GraphProto) -> int:
        restored = {out for node in graph.node if node.op_type == "DequantizeLinear" for out in node.output}
        weighted = (node for node in graph.node if node.op_type in _WEIGHTED)
        return sum(all(name in restored for name in node.input[:2]) for node in weighted)


@register
@dataclass(frozen=True)
class QuantizeDynamicInt8(_OnnxQuantization):
    """INT8 weights (per channel); activations are quantized at every call with the ranges of that call.

    Made for matrix products. Convolutions are quantized as well, as ONNX Runtime does by default, and its
    ConvInteger kernel is slower than FP32.
    """

    name = "quantize.dynamic-int8"
    summary = "INT8 weights; activations quantized at run time, no calibration"

    def _quantize(self, source: Path, target: Path, external: bool, context: BuildContext) -> str:  # noqa: ARG002
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            source, target, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=external
        )
        return ""

    def _count(self, graph: onnx.GraphProto) -> int:
        return sum(node.op_type in _DYNAMIC for node in graph.node)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _refuse_quantized(model: Path) -> None:
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
