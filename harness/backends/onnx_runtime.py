"""ONNX Runtime on its CPU provider. A measuring process imports neither torch nor onnx."""

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
    first_line,
    raise_if_out_of_memory,
)
from harness.backends.onnx_export import export_onnx
from harness.backends.profiles.onnx_runtime import profile_onnx_runtime
from harness.errors import UnsupportedError
from harness.onnx_files import MODEL_FILE, PRECISION_KEY, copy_onnx
from harness.schema import Execution, Unmeasured
from harness.zoo import Form, OnnxFile

PROVIDER = "CPUExecutionProvider"
_FORMATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxRuntimeBackend(Backend):
    """Exports with a free batch size.

    Options: ``graph_optimization``, the level of graph rewriting; the layout rewriting that pays for
    convolutions comes with ``layout`` and ``all`` only.
    """

    name = "onnxruntime"
    summary = "ONNX Runtime, CPU provider"
    format = "onnx"
    distributions = ("onnxruntime",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ("torch", "onnx", "onnxscript"), "onnx": ("onnx",)}
    extra = "onnxruntime"
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "graph_optimization": ("all", "layout", "extended", "basic", "disable")
    }

    def import_runtime(self) -> None:
        """Import onnxruntime."""
        import onnxruntime  # noqa: F401

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Export to ``model.onnx``, or take an ONNX file as it is.

        Raises UnsupportedError where the batch size cannot be free.
        """
        if isinstance(module, OnnxFile):
            copy_onnx(module.path, request.directory)
        else:
            export_onnx(module, request, dynamic_batch=request.batched)

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Create the session; raises UnsupportedError when an operator or its data type has no kernel."""
        before = _process_threads()
        opened = self._open(directory, session)
        # The caller works too, so a pool of n threads starts n - 1.
        threads = 1 + _process_threads() - before
        return OnnxRuntimeSession(opened, threads=threads, level=self.option(session.options, "graph_optimization"))

    def profile(
        self, directory: Path, options: SessionOptions, session: Session, batches: Sequence[Arrays], calls: int
    ) -> Execution | Unmeasured:
        """Watch a second session of the same file with ONNX Runtime's profile."""
        model = directory / MODEL_FILE
        return profile_onnx_runtime(
            model, lambda prefix: self._open(directory, options, prefix), session, batches, calls
        )

    def _open(self, directory: Path, session: SessionOptions, profile: Path | None = None) -> Any:
        """Return ONNX Runtime's own session; ``profile`` is the beginning of the file that it shall write."""
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph, NotImplemented  # noqa: A004

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = session.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = _level(onnxruntime, self.option(session.options, "graph_optimization"))
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            return onnxruntime.InferenceSession(str(directory / MODEL_FILE), options, providers=[PROVIDER])
        except (NotImplemented, InvalidGraph) as error:
            raise UnsupportedError(f"ONNX Runtime refuses the model: {first_line(error)}") from error
        except Exception as error:
            raise_if_out_of_memory(error)
            raise


class OnnxRuntimeSession(Session):
    """An inference session: host arrays in the order of the graph's inputs, all outputs back."""

    def __init__(self, session: Any, *, threads: int, level: str) -> None:
        self._session = session
        self._threads = threads
        self._level = level
        self._names = [item.name for item in session.get_inputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where ONNX Runtime cannot allocate."""
        try:
            return as_arrays(self._session.run(None, dict(zip(self._names, inputs, strict=True))))
        except Exception as error:
            raise_if_out_of_memory(error)
            raise

    def executed(self) -> dict[str, Any]:
        """Return the threads that really started, the providers in use and the model's number format.

        ``precision`` is what the model tells: what a pass of the harness wrote into it, ``int8`` when ONNX
        Runtime's quantizer signed it, else the format that its inputs and outputs declare.
        """
        import onnxruntime

        return {
            "threads": self._threads,
            "provider": ", ".join(self._session.get_providers()),
            "precision": self._precision(),
            "graph_optimization": self._level,
            "onnxruntime": onnxruntime.__version__,
        }

    def _precision(self) -> str:
        meta = self._session.get_modelmeta()
        if told := meta.custom_metadata_map.get(PRECISION_KEY):
            return str(told)
        if meta.producer_name == "onnx.quantize":
            return "int8"
        # Token ids go in and scores come out: the number format is that of the first floating-point tensor.
        declared = [item.type for item in (*self._session.get_inputs(), *self._session.get_outputs())]
        return next((_FORMATS[name] for name in declared if name in _FORMATS), "integers")


def _level(onnxruntime: Any, name: str) -> Any:
    """Return ONNX Runtime's constant for a level; raises UnsupportedError where its version has none."""
    constant = "ORT_DISABLE_ALL" if name == "disable" else f"ORT_ENABLE_{name.upper()}"
    level = getattr(onnxruntime.GraphOptimizationLevel, constant, None)
    if level is None:
        raise UnsupportedError(
            f"ONNX Runtime {onnxruntime.__version__} has no level {name}: pip install -U onnxruntime"
        )
    return level


def _process_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())
