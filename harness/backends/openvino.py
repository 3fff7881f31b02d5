"""OpenVINO on the CPU, from the same ONNX export. A measuring process imports neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.backends.base import (
    Arrays,
    Backend,
    LowerRequest,
    Session,
    SessionOptions,
    as_arrays,
    raise_if_out_of_memory,
)
from harness.backends.onnx_export import export_onnx
from harness.backends.profiles.openvino import profile_openvino
from harness.errors import UnsupportedError
from harness.onnx_files import MODEL_FILE, copy_onnx
from harness.schema import Execution, Unmeasured
from harness.zoo import Form, OnnxFile

_FORMATS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class OpenVinoBackend(Backend):
    """Exports with fixed shapes, for which OpenVINO compiles the better code.

    Options: ``precision`` of the arithmetic. It is always stated, because OpenVINO's own default is bfloat16
    on a CPU that has it, and FP32 would be compared with that unawares.
    """

    name = "openvino"
    summary = "OpenVINO, CPU device"
    format = "onnx"
    distributions = ("openvino",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ("torch", "onnx", "onnxscript"), "onnx": ("onnx",)}
    extra = "openvino"
    static_batch = True
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"precision": ("f32", "bf16")}

    def import_runtime(self) -> None:
        """Import openvino."""
        import openvino  # noqa: F401

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Export to ``model.onnx``, or copy an ONNX file with its free axes fixed.

        Raises UnsupportedError where that is impossible.
        """
        if isinstance(module, OnnxFile):
            copy_onnx(module.path, request.directory, shapes=[a.shape for a in request.example_inputs])
        else:
            export_onnx(module, request, dynamic_batch=False)

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Read and compile the model; raises UnsupportedError when OpenVINO refuses it."""
        opened = OpenVinoSession(self._compile(directory, session)[1])
        precision = self.option(session.options, "precision")
        if opened.precision != precision:
            raise UnsupportedError(
                f"OpenVINO would run {opened.precision} instead of {precision}: this CPU has no such arithmetic"
            )
        return opened

    def profile(
        self, directory: Path, options: SessionOptions, session: Session, batches: Sequence[Arrays], calls: int
    ) -> Execution | Unmeasured:
        """Watch the same model, compiled once more with counters."""
        model, compiled = self._compile(directory, options, PERF_COUNT=True)
        asked = _FORMATS[self.option(options.options, "precision")]
        return profile_openvino(model, compiled, asked, session, batches, calls)

    def _compile(self, directory: Path, session: SessionOptions, **more: Any) -> tuple[Any, Any]:
        """Return the model as it was read, and compiled with ``more`` properties."""
        import openvino

        properties = {
            "INFERENCE_PRECISION_HINT": self.option(session.options, "precision"),
            "INFERENCE_NUM_THREADS": session.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            **more,
        }
        core = openvino.Core()
        try:
            model = core.read_model(directory / MODEL_FILE)
            return model, core.compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise_if_out_of_memory(error)
            raise UnsupportedError(f"OpenVINO refuses the model: {_reason(error)}") from error


class OpenVinoSession(Session):
    """One compiled model with one inference request; outputs are copies that the next call leaves alone."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    @property
    def precision(self) -> str:
        """OpenVINO's name of the arithmetic's format, such as ``f32``, as the compiled model reports it."""
        # Not Type.to_dtype(): numpy has no bfloat16, so that answers float16.
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where OpenVINO cannot allocate."""
        try:
            results = self._request.infer(list(inputs), share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise_if_out_of_memory(error)
            raise
        return as_arrays(list(results.values()))

    def executed(self) -> dict[str, Any]:
        """Return precision, threads and devices as the compiled model reports them."""
        import openvino

        read = self._compiled.get_property
        return {
            "threads": int(read("INFERENCE_NUM_THREADS")),
            "provider": ", ".join(read("EXECUTION_DEVICES")),
            "precision": _FORMATS.get(self.precision, self.precision),
            "streams": int(read("NUM_STREAMS")),
            "openvino": openvino.__version__,
        }

    def close(self) -> None:
        """Release the request and the compiled model."""
        del self._request, self._compiled


def _reason(error: BaseException) -> str:
    """Return the last line of OpenVINO's message that says something: those before it name source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)
