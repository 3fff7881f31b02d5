"""From a torch module to ``model.onnx``: the one exporter that all ONNX backends share."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.backends.base import LowerRequest, first_line, raise_if_out_of_memory
from harness.errors import UnsupportedError
from harness.onnx_files import EXTERNAL_DATA_BYTES, MODEL_FILE


def export_onnx(module: Any, request: LowerRequest, *, dynamic_batch: bool) -> None:
    """Write ``model.onnx`` into the request's directory and check it.

    With ``dynamic_batch`` the first axis of every input is free, else all shapes are those of the examples.
    Raises UnsupportedError when torch.export cannot follow the module, ONNX lacks an operator, or the batch
    size cannot stay free.
    """
    import onnx
    import torch

    arrays = request.example_inputs
    if dynamic_batch and len(arrays[0]) == 1:
        # torch.export takes an axis of length 1 for a constant.
        arrays = tuple(np.concatenate([a, a]) for a in arrays)
    batch = torch.export.Dim("batch")
    tensors = [*module.parameters(), *module.buffers()]
    path = request.directory / MODEL_FILE
    try:
        torch.onnx.export(
            module.eval(),
            tuple(torch.from_numpy(a) for a in arrays),
            path,
            dynamo=True,
            input_names=request.input_names or None,
            output_names=request.output_names or None,
            dynamic_shapes=tuple({0: batch} for _ in arrays) if dynamic_batch else None,
            external_data=sum(t.numel() * t.element_size() for t in tensors) > EXTERNAL_DATA_BYTES,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        if isinstance(cause, Exception):
            raise_if_out_of_memory(cause)
        raise UnsupportedError(f"ONNX export failed: {first_line(cause)}") from error
    onnx.checker.check_model(str(path))
    graph = onnx.load(path, load_external_data=False).graph
    axes = [value.type.tensor_type.shape.dim[0] for value in graph.input]
    # The exporter says nothing when the module itself fixes the size that was asked to be free.
    if dynamic_batch and not all(axis.dim_param for axis in axes):
        fixed = axes[0].dim_value
        raise UnsupportedError(f"ONNX export fixed the batch size at {fixed}: the module depends on it")
