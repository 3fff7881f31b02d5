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
from harness.onnx_files import copy_onnx
from harness.openvino_files import IR_FILE, Settings, model_file, read_settings
from harness.schema import Execution, Fidelity, Unmeasured
from harness.zoo import Form, OnnxFile

_FLOATS = ("float32", "bfloat16", "float16")
_FORMATS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "u8": "int8", "i8": "int8"}
_COMPUTING = {
    "Convolution",
    "Deconvolution",
    "FullyConnected",
    "MatMul",
    "RNNSeq",
    "RNNCell",
    "ScaledDotProductAttention",
}


class OpenVinoBackend(Backend):
    """Exports with fixed shapes, for which OpenVINO compiles the better code.

    Options: ``precision`` of the arithmetic. It is always stated, because OpenVINO's own default is bfloat16
    on a CPU that has it, and FP32 would be compared with that unawares. A pass may state it as well.
    """

    name = "openvino"
    summary = "OpenVINO, CPU device"
    format = "onnx"
    distributions = ("openvino",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ("torch", "onnx", "onnxscript"), "onnx": ("onnx",)}
    extra = "openvino"
    static_batch = True
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"precision": ("f32", "bf16", "f16")}

    def fidelity(self, options: Mapping[str, Any]) -> Fidelity:
        """Return ``precision`` where the option asks for fewer bits than FP32 has."""
        return Fidelity.RUNTIME if self.option(options, "precision") == "f32" else Fidelity.PRECISION

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
        """Read and compile the model.

        Raises UnsupportedError when OpenVINO refuses it or the CPU lacks the arithmetic, and when the option
        ``precision`` contradicts a pass.
        """
        settings = read_settings(directory)
        precision = self._precision(settings, session.options)
        opened = OpenVinoSession(self._compile(directory, session)[1], settings)
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
        asked = _FORMATS[self._precision(read_settings(directory), options.options)]
        return profile_openvino(model, compiled, asked, session, batches, calls)

    def _compile(self, directory: Path, session: SessionOptions, **more: Any) -> tuple[Any, Any]:
        """Return the model as it was read, and compiled with ``more`` properties."""
        import openvino

        settings = read_settings(directory)
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._precision(settings, session.options),
            "INFERENCE_NUM_THREADS": session.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            **more,
        }
        if settings.weights and not settings.quantize_activations:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        core = openvino.Core()
        try:
            model = core.read_model(model_file(directory))
            return model, core.compile_model(model, "CPU", properties)
        except RuntimeError as error:
            raise_if_out_of_memory(error)
            raise UnsupportedError(f"OpenVINO refuses the model: {_reason(error)}") from error

    def format_of(self, directory: Path) -> str:
        """Return ``onnx``, or ``openvino-ir`` where a pass wrote OpenVINO's own format."""
        return "openvino-ir" if (directory / IR_FILE).is_file() else self.format

    def _precision(self, settings: Settings, options: Mapping[str, Any]) -> str:
        option = str(self.option(options, "precision"))
        if settings.precision and "precision" in options and option != settings.precision:
            raise UnsupportedError(
                f"a pass asks for {_FORMATS[settings.precision]} and the option precision={option} for another "
                "format; leave one out"
            )
        return settings.precision or option


class OpenVinoSession(Session):
    """One compiled model with one inference request; outputs are copies that the next call leaves alone."""

    def __init__(self, compiled: Any, settings: Settings) -> None:
        self._compiled = compiled
        self._settings = settings
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
            "precision": self._executed_precision(),
            "streams": int(read("NUM_STREAMS")),
            "openvino": openvino.__version__,
        }

    def _executed_precision(self) -> str:
        """Return the number formats of the computing layers, as the runtime model or the settings know them.

        The runtime model tells the format of a layer's weights where they are compressed, not that of its products.
        """
        base = _FORMATS.get(self.precision, self.precision)
        if not self._settings.weights and not self._settings.quantized:
            return base
        ops = [op.get_rt_info() for op in self._compiled.get_runtime_model().get_ordered_ops()]
        formats = {_text(op["runtimePrecision"]) for op in ops if _text(op["layerType"]) in _COMPUTING}
        formats = {_FORMATS.get(name, name) for name in formats}
        if self._settings.weights:
            group = int(self._compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE"))
            formats = {"int8" if group else base, *(formats & set(_FLOATS))}
        # Small networks of products are compiled as one node, whose format says nothing.
        computes = " and ".join(sorted(formats, key=lambda name: (not name.startswith("int"), name))) or "int8"
        return f"{self._settings.weights} weights, {computes}" if self._settings.weights else computes

    def close(self) -> None:
        """Release the request and the compiled model."""
        del self._request, self._compiled


def _text(value: Any) -> str:
    """Return an entry of a node's runtime information as text."""
    return str(value.astype(str))


def _reason(error: BaseException) -> str:
    """Return the last line of OpenVINO's message that says something: those before it name source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)
