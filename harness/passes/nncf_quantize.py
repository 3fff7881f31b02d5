"""Quantization of OpenVINO models by NNCF. The result is OpenVINO's own format, ``model.xml`` and ``model.bin``."""

from __future__ import annotations

import importlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.environment import cpu_flags
from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import MODEL_FILE, external_files
from harness.openvino_files import IR_FILE, model_file, read_settings, write_settings
from harness.passes.base import BuildContext, Change

_WEIGHTED = (
    "Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "LSTMSequence",
    "MatMul",
)  # fmt: skip
# They hand on numbers as they are, so what comes out of integers stays integers.
_MOVES = (
    "Concat", "Gather", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze",
    "VariadicSplit",
)  # fmt: skip
_RESTORES = ("Convert", "Multiply", "Subtract")  # what turns integer weights into the numbers they stand for
_INTEGERS = {"u8": 8, "i8": 8, "u4": 4, "i4": 4}
CHECKED_BATCHES = 4  # on which two ways to quantize are compared


def static_int8(directory: Path, context: BuildContext, calibration: str, examples: int, activations: str) -> Change:
    """Quantize weights and activations with ranges from the calibration split, and count the layers.

    Where the graph holds attention, NNCF treats it as a transformer: it quantizes only what such models bear, and
    moves the outliers of activations into the weights (SmoothQuant). That is kept only if the compiled model gives
    better outputs with it, because OpenVINO 2026.4 computes some graphs wrongly with it: relative error 0.24 of a
    small attention block whose graph, evaluated by OpenVINO's reference, has 0.009; without it both give 0.010.
    Raises InvalidOutputError when no layer could be quantized, with the artifact untouched.
    """
    _import_nncf()
    model = _read(directory)
    layers = list(_weighted(model))
    batches = _batches(context, examples)
    if _has_attention(model):
        ways = {"SmoothQuant": True, "no SmoothQuant": False}
        tried = {
            name: _quantized(directory, batches, calibration, activations, smooth) for name, smooth in ways.items()
        }
        errors = {name: _error(model, other, batches[:CHECKED_BATCHES]) for name, other in tried.items()}
        best, other = sorted(errors, key=lambda name: errors[name])
        model = tried[best]
        how = f", as a transformer with {best} (error {errors[best]:.2g}, with {other} {errors[other]:.2g})"
    else:
        model, how = _quantized(directory, batches, calibration, activations, None), ""
    done = sum(all(_from_integers(node, side) for side in (0, 1)) for node in _weighted(model))
    kinds = "/".join(sorted({node.get_type_name() for node in layers})) or "layers"
    detail = f"{done} of {len(layers)} {kinds} quantized"
    if not done:
        raise InvalidOutputError(f"quantize.static-int8 changed nothing: {detail}")
    _write(directory, model)
    write_settings(directory, replace(read_settings(directory), quantized=True))
    count = min(len(batches) * len(batches[0][0]), len(context.data("calibration")))
    return Change(f"{detail}, ranges by {calibration} over {count} examples{how}", done, len(layers))


def weight_only(
    name: str, directory: Path, compute: str, *, bits: int, symmetric: bool, group_size: int | None = None
) -> Change:
    """Compress the weights of products and lookups to integers, and count the layers that got so few bits.

    With 4 bits NNCF keeps lookups and the last layer, which lose the most, at 8 bits. OpenVINO quantizes the
    activations of such layers at run time, unless ``compute`` is ``float32``. Raises InvalidOutputError when
    no layer's weights could be compressed, with the artifact untouched.
    """
    nncf = _import_nncf()
    model = _read(directory)
    kept = [node for node in _weighted(model) if _has_weights(node)]
    mode = f"INT{bits}_{'SYM' if symmetric else 'ASYM'}"
    try:
        model = nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode[mode], **({} if group_size is None else {"group_size": group_size})
        )
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(f"NNCF cannot compress this model: {type(error).__name__}: {error}") from error
    widths = Counter(_width(node) for node in _weighted(model) if _has_weights(node))
    done = widths[bits]
    detail = f"weights of {done} of {len(kept)} layers in INT{bits}"
    if widths[8] and bits == 4:
        detail += f", of {widths[8]} in INT8"
    if not done:
        raise InvalidOutputError(f"{name} changed nothing: {detail}")
    _write(directory, model)
    formats = "+".join(f"int{width}" for width in sorted(width for width in widths if width))
    settings = replace(read_settings(directory), weights=formats, quantize_activations=compute != "float32")
    write_settings(directory, settings)
    return Change(detail, done, len(kept))


def _import_nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # its name for: send no telemetry
    nncf = importlib.import_module("nncf")  # it has no type information
    nncf.set_log_level(logging.ERROR)
    return nncf


def _read(directory: Path) -> Any:
    """Read the artifact's model. Raises UnsupportedError when it is quantized already."""
    import openvino

    model = openvino.Core().read_model(model_file(directory))
    integers = [node for node in _weighted(model) if _width(node)]
    if integers or any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        raise UnsupportedError("the model is quantized already: it holds integer weights or FakeQuantize operators")
    return model


def _quantized(
    directory: Path, batches: list[list[Any]], calibration: str, activations: str, smooth: bool | None
) -> Any:
    """Return a quantized model; ``smooth`` is None for a model that is no transformer."""
    nncf = _import_nncf()
    advanced = importlib.import_module("nncf.quantization.advanced_parameters")
    more: dict[str, Any] = {"activations_range_estimator_params": _ranges(calibration)}
    if {"avx512_vnni", "avx_vnni", "amx_int8"} & set(cpu_flags()):
        # Without these instructions sums of products may overflow, and NNCF uses half of the weights' range.
        more["overflow_fix"] = advanced.OverflowFix.DISABLE
    if smooth is False:
        more["smooth_quant_alphas"] = advanced.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    settings: dict[str, Any] = {
        "subset_size": len(batches),
        "target_device": nncf.TargetDevice.CPU,
        "model_type": None if smooth is None else nncf.ModelType.TRANSFORMER,
        # Symmetric weights in both; activations with a zero point in the first, without one in the second.
        "preset": nncf.QuantizationPreset.MIXED if activations == "uint8" else nncf.QuantizationPreset.PERFORMANCE,
        "advanced_parameters": advanced.AdvancedQuantizationParameters(**more),
    }
    try:
        try:
            return nncf.quantize(_read(directory), nncf.Dataset(batches), **settings)
        except KeyError:
            # NNCF 3.4 loses the weights of some lookups of BERT's on its way; without them it quantizes the rest.
            lookups = nncf.IgnoredScope(types=["Gather"], validate=False)
            return nncf.quantize(_read(directory), nncf.Dataset(batches), ignored_scope=lookups, **settings)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedError(f"NNCF cannot quantize this model: {type(error).__name__}: {error}") from error


def _ranges(calibration: str) -> Any:
    """Return NNCF's words for a calibration method."""
    estimator = importlib.import_module("nncf.quantization.range_estimator")
    if calibration == "minmax":
        return estimator.RangeEstimatorParametersSet.MINMAX
    if calibration == "percentile":  # as ONNX Runtime's: 99.999 % of the values lie within
        low, high = (
            estimator.StatisticsCollectorParameters(
                statistics_type=estimator.StatisticsType.QUANTILE,
                aggregator_type=estimator.AggregatorType.MEAN,
                quantile_outlier_prob=1e-5,
            )
            for _ in range(2)
        )
        return estimator.RangeEstimatorParameters(min=low, max=high)
    raise UnsupportedError(f"NNCF has no calibration by {calibration}; use minmax or percentile")


def _batches(context: BuildContext, examples: int) -> list[list[Any]]:
    """Return calls of the artifact's batch size, which is fixed, on the first calibration examples."""
    split = context.data("calibration")
    size = 1 if split.stacked else context.batch_size
    calls = max(1, min(examples, len(split)) // size)
    return [list(split.batch(size, index * size)) for index in range(calls)]


def _error(model: Any, other: Any, batches: list[list[Any]]) -> float:
    """Return the relative error of a model's outputs, both compiled for this CPU with float32 arithmetic."""
    import openvino

    def outputs(which: Any) -> Any:
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(which, "CPU", settings)
        return np.concatenate([np.ravel(value).astype(float) for b in batches for value in compiled(b).values()])

    expected = outputs(model)
    return float(np.linalg.norm(outputs(other) - expected)) / max(float(np.linalg.norm(expected)), 1e-30)


def _weighted(model: Any) -> Iterator[Any]:
    return (node for node in model.get_ordered_ops() if node.get_type_name() in _WEIGHTED)


def _has_attention(model: Any) -> bool:
    """Whether a product of two computed tensors has a softmax's output among its factors, or attention is one node."""
    for node in model.get_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            return True
        if node.get_type_name() == "MatMul" and any(
            _after_moves(node, side).get_type_name() == "Softmax" for side in (0, 1)
        ):
            return True
    return False


def _after_moves(node: Any, side: int) -> Any:
    """Return what computes an input, seen through operators that only move numbers."""
    source = node.input_value(side).get_node()
    while source.get_type_name() in (*_MOVES, "Select"):
        # A masked softmax is exported as "0 where it is no number, else itself".
        source = source.input_value(2 if source.get_type_name() == "Select" else 0).get_node()
    return source


def _constant(node: Any, side: int) -> Any | None:
    """Return the constant that an input is made of, seen through moves and what restores quantized weights."""
    source = node.input_value(side).get_node()
    while source.get_type_name() in (*_MOVES, *_RESTORES, "FakeQuantize"):
        source = source.input_value(0).get_node()
    return source if source.get_type_name() == "Constant" else None


def _has_weights(node: Any) -> bool:
    return any(_constant(node, side) is not None for side in (0, 1))


def _width(node: Any) -> int:
    """Return the bits of a layer's integer weights; 0 for none."""
    found = (_constant(node, side) for side in (0, 1))
    return max((_INTEGERS.get(c.get_element_type().get_type_name(), 0) for c in found if c is not None), default=0)


def _from_integers(node: Any, side: int) -> bool:
    constant = _constant(node, side)
    if constant is not None and constant.get_element_type().get_type_name() in _INTEGERS:
        return True
    return bool(_after_moves(node, side).get_type_name() == "FakeQuantize")


def _write(directory: Path, model: Any) -> None:
    """Write OpenVINO's own format, then take the model away that it replaces."""
    import openvino

    old = directory / MODEL_FILE
    stale = [old, *external_files(old)] if old.is_file() else []
    openvino.save_model(model, directory / IR_FILE, compress_to_fp16=False)
    for path in stale:
        path.unlink()
