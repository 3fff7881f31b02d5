"""Float16 for ONNX graphs, by ONNX Runtime's own converter."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import EXTERNAL_DATA_BYTES, MODEL_FILE
from harness.passes.base import Change
from harness.passes.onnx_rewrite import (
    WEIGHTED,
    model_size,
    nodes_of,
    refuse_quantized,
    replace_model,
    tell_precision,
)


def float16(directory: Path) -> Change:
    """Store weights and declare arithmetic of ``model.onnx`` in float16; inputs and outputs stay float32.

    Counts the layers with float16 weights, and says how many of them ONNX Runtime really computes in float16 on
    this CPU: where it has no such kernel, it turns weights and activations back into float32. Raises
    InvalidOutputError when nothing was wider, UnsupportedError when the graph cannot be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = directory / MODEL_FILE
    refuse_quantized(source)
    with tempfile.TemporaryDirectory(prefix=".float16-", dir=directory) as temporary:
        target = Path(temporary) / "model.onnx"
        model = onnx.load(str(source))
        layers = _float_weights(model.graph, "FLOAT")
        if not layers:
            raise InvalidOutputError("cast.float16 changed nothing: no layer has float32 weights")
        try:
            model = convert_float_to_float16(model, keep_io_types=True)
        except (KeyError, ValueError, AttributeError, RuntimeError, TypeError) as error:
            raise UnsupportedError(f"the graph cannot be converted to float16: {error}") from error
        large = model_size(source) / 2 > EXTERNAL_DATA_BYTES
        onnx.save(model, str(target), save_as_external_data=large, location="model.float16.data" if large else None)
        done = _float_weights(model.graph, "FLOAT16")
        if not done:
            raise InvalidOutputError(f"cast.float16 changed nothing: 0 of {layers} layers have float16 weights")
        kept = _float_weights(_optimized(target).graph, "FLOAT16")
        tell_precision(target, _precision(kept, layers))
        replace_model(source, target)
    detail = f"weights of {done} of {layers} layers in float16; ONNX Runtime computes {kept} of them in float16 here"
    return Change(detail, done, layers)


def _precision(kept: int, layers: int) -> str:
    if kept >= layers:
        return "float16"
    return "float16 and float32" if kept else "float16 weights, float32"


def _float_weights(graph: Any, kind: str) -> int:
    """Count the layers whose weights are constants of a number format."""
    import onnx

    wanted = getattr(onnx.TensorProto, kind)
    names = {tensor.name for tensor in graph.initializer if tensor.data_type == wanted}
    fused = (*WEIGHTED, "FusedConv", "FusedGemm", "FusedMatMul")
    return sum(node.op_type in fused and node.input[1] in names for node in nodes_of(graph))


def _optimized(model: Path) -> Any:
    """Return the graph as ONNX Runtime would run it, with the casts that it puts in where a kernel is missing.

    Raises UnsupportedError when it refuses the model.
    """
    import onnx
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, NotImplemented  # noqa: A004

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(model.with_name("optimized.onnx"))
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, NotImplemented) as error:
        raise UnsupportedError(f"ONNX Runtime refuses the model in float16: {error}") from error
    return onnx.load(options.optimized_model_filepath, load_external_data=False)
