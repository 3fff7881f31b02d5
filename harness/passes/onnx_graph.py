"""Passes that rewrite an ONNX graph without changing what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.errors import InvalidOutputError
from harness.onnx_files import MODEL_FILE, weights_among_inputs
from harness.passes.base import BuildContext, Change, Pass, register
from harness.schema import Fidelity


@register
@dataclass(frozen=True)
class OnnxConstantWeights(Pass):
    """Takes the weights out of the graph's list of inputs, where files of old exporters have them.

    A weight that a caller could replace is no constant: ONNX Runtime then neither folds it nor stores it in the
    layout its fast kernels want. INT8 quantization removes them too, so without this row beside it INT8 would be
    credited with the difference.
    """

    name = "onnx.constant-weights"
    summary = "declares weights constant that an old file lists among its inputs"
    form = "lowered"
    fidelity = Fidelity.RUNTIME
    distributions = ("onnx",)
    extra = "onnxruntime"
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "openvino": "",
        "torch": "eager PyTorch has no ONNX graph",
        "inductor": "AOTInductor has no ONNX graph",
    }

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite ``model.onnx``; raises InvalidOutputError when no weight is among the inputs."""
        import onnx

        path = directory / MODEL_FILE
        names = weights_among_inputs(path)
        if not names:
            raise InvalidOutputError(f"{self.name} changed nothing: no weight is among the inputs")
        model = onnx.load(str(path), load_external_data=False)
        kept = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, 4)  # before, every weight had to be an input
        path.write_bytes(model.SerializeToString())
        return Change(f"{len(names)} weights are constants now")
