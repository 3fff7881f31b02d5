"""INT8 quantization of ONNX graphs, weights and activations, by ONNX Runtime's own tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.environment import cpu_flags
from harness.passes.base import BuildContext, Change
from harness.passes.onnx_rewrite import WEIGHTED, Rewriting, has_attention, rewrite

if TYPE_CHECKING:
    import onnx

CALIBRATION_BATCH = 32
_DYNAMIC = ("ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger", "QAttention")


def static_int8(directory: Path, context: BuildContext, calibration: str, examples: int, activations: str) -> Change:
    """Write Q/DQ pairs around the computing layers of ``model.onnx`` and count those that became INT8."""
    count = min(examples, len(context.data("calibration")))

    def quantize(source: Path, target: Path, external: bool) -> None:
        _quantize_static(source, target, lambda: _reader(context, count), calibration, activations, external)

    change = rewrite(directory, Rewriting("quantize.static-int8", quantize, _statically_quantized, _integers_or_mixed))
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

    return rewrite(directory, Rewriting("quantize.dynamic-int8", quantize, _dynamically_quantized, _integers_or_mixed))


def _integers_or_mixed(done: int, of: int) -> str:
    return "int8" if done >= of else "int8 and float32"


def _quantize_static(
    source: Path, target: Path, reader: Callable[[], Any], calibration: str, activations: str, external: bool
) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }

    options: dict[str, Any] = {}
    operators = None
    model = onnx.load(str(source), load_external_data=False)
    if has_attention(model.graph):
        # Transformers: only products, because softmax, normalization and mask do not bear eight bits, and without
        # rounding the products' outputs as well; ranges by the mean of the batches' rather than the widest, which
        # rare outliers set; sums beside the products get the numbers as they were. MiniLM's least cosine goes 0.06
        # (all operators), 0.90, 0.984, 0.987, 0.990 with these four, and it gets no slower.
        # Lookups come along, which makes the file of a small model with a large vocabulary 2.5 times smaller.
        operators = [*WEIGHTED, "Gather"]
        _separate_products(model.graph)
        source.write_bytes(model.SerializeToString())
        options = {"OpTypesToExcludeOutputQuantization": list(WEIGHTED), "CalibMovingAverage": calibration == "minmax"}

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
            op_types_to_quantize=operators,
            # Without these instructions sums of U8S8 products saturate.
            reduce_range=activations == "uint8" and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(cpu_flags()),
            extra_options={**options, **more},
        )

    try:
        quantize()
    except ValueError:
        # Its adjustment of weights to small biases compares arrays as if they were numbers (1.32).
        quantize(QDQDisableWeightAdjustForInt32Bias=True)


def _separate_products(graph: Any) -> None:
    """Give products an input of their own where something else reads the same numbers, in place.

    The quantizer rounds a tensor for all who read it, so the sum after a block would get eight bits as well. ONNX
    Runtime takes the Identity out again.
    """
    import onnx

    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    constants = {tensor.name for tensor in graph.initializer}
    nodes: list[Any] = []
    own: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in WEIGHTED:
            for index, name in enumerate(node.input[:2]):
                if name in constants or readers[name] <= set(WEIGHTED):
                    continue
                if name not in own:
                    own[name] = f"{name}_of_products"
                    nodes.append(onnx.helper.make_node("Identity", [name], [own[name]], name=own[name]))
                node.input[index] = own[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _statically_quantized(graph: onnx.GraphProto) -> int:
    """Count the layers whose two factors both come from integers."""
    restored = {out for node in graph.node if node.op_type == "DequantizeLinear" for out in node.output}
    weighted = (node for node in graph.node if node.op_type in WEIGHTED)
    return sum(all(name in restored for name in node.input[:2]) for node in weighted)


def _dynamically_quantized(graph: onnx.GraphProto) -> int:
    return sum(node.op_type in _DYNAMIC for node in graph.node)


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
