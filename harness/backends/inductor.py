"""AOTInductor: PyTorch's compiler ahead of time, to a package that needs no compiler where it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.backends.base import (
    Arrays,
    Available,
    Backend,
    LowerRequest,
    Session,
    SessionOptions,
    Unavailable,
    first_line,
    raise_if_out_of_memory,
)
from harness.backends.profiles.inductor import profile_inductor
from harness.backends.torch_eager import openmp_environment, precision_of, set_threads, to_arrays
from harness.errors import UnsupportedError
from harness.schema import Execution, Unmeasured
from harness.zoo import Form

PACKAGE_FILE = "model.pt2"
_THREADS = "harness_threads"
_PRECISION = "harness_precision"


class InductorBackend(Backend):
    """Exports the module with fixed shapes and compiles it to machine code for this CPU.

    The generated loops carry ``num_threads(n)``, which wins over OMP_NUM_THREADS: the number of threads is a
    part of the artifact.
    """

    name = "inductor"
    summary = "PyTorch compiled ahead of time by AOTInductor"
    format = "aoti-package"
    distributions = ("torch",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ()}
    extra = "torch"
    static_batch = True
    static_threads = True

    def probe(self, role: Literal["build", "measure"], form: Form = "torch") -> Available | Unavailable:
        """Say whether torch is here and, to build, a C++ compiler."""
        compiler = os.environ.get("CXX", "g++")
        if role == "build" and shutil.which(compiler) is None:
            return Unavailable(f"no C++ compiler '{compiler}': apt-get install g++")
        return super().probe(role, form)

    def environment(self, threads: int, options: Mapping[str, Any], cores: Sequence[int] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return OpenMP's threads, and one compile job: no pool of processes that outlives the build."""
        return {**openmp_environment(threads, cores), "TORCHINDUCTOR_COMPILE_THREADS": "1"}

    def import_runtime(self) -> None:
        """Import torch and the package loader."""
        import torch._inductor.package  # noqa: F401

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Compile to ``model.pt2``; raises UnsupportedError where torch.export cannot follow the module.

        The compiler's caches are fresh, so that the build time is that of a first build.
        """
        import torch
        import torch._inductor
        from torch._inductor.utils import fresh_cache

        module = module.eval()
        examples = tuple(torch.from_numpy(array) for array in request.example_inputs)
        try:
            with torch.no_grad():
                program = torch.export.export(module, examples)
        except Exception as error:
            raise_if_out_of_memory(error)
            raise UnsupportedError(f"torch.export cannot follow this module: {first_line(error)}") from error
        with fresh_cache():
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(request.directory / PACKAGE_FILE),
                inductor_configs={
                    "cpp.threads": request.threads,
                    "aot_inductor.metadata": {
                        _THREADS: str(request.threads),
                        _PRECISION: precision_of(module),
                    },
                },
            )

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Open the package; raises UnsupportedError when it was compiled for another number of threads."""
        import torch._inductor

        set_threads(session.threads)
        try:
            model = torch._inductor.aoti_load_package(str(directory / PACKAGE_FILE))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        opened = InductorSession(model)
        if opened.compiled_threads != session.threads:
            raise UnsupportedError(
                f"the package was compiled for {opened.compiled_threads} threads, not {session.threads}: build it anew"
            )
        return opened

    def profile(
        self,
        directory: Path,
        options: SessionOptions,  # noqa: ARG002
        session: Session,
        batches: Sequence[Arrays],
        calls: int,
    ) -> Execution | Unmeasured:
        """Read the package's own code, and see how much of a call PyTorch's profiler tells."""
        return profile_inductor(directory / PACKAGE_FILE, session, batches, calls)


class InductorSession(Session):
    """A loaded package: host arrays of the shapes it was compiled for in, host arrays out."""

    def __init__(self, model: Any) -> None:
        import torch

        self._torch = torch
        self._model = model
        self._metadata: dict[str, str] = model.loader.get_metadata()

    @property
    def compiled_threads(self) -> int:
        """The number of threads that the generated code asks for."""
        return int(self._metadata[_THREADS])

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where torch cannot allocate."""
        torch = self._torch
        try:
            with torch.inference_mode():
                return to_arrays(self._model(*(torch.from_numpy(array) for array in inputs)))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise

    def executed(self) -> dict[str, Any]:
        """Return threads of torch's own kernels, and what the package says it was compiled for."""
        torch = self._torch
        return {
            "threads": torch.get_num_threads(),
            "compiled_threads": self.compiled_threads,
            "interop_threads": torch.get_num_interop_threads(),
            "threads_bound": os.environ.get("OMP_PROC_BIND", "false") == "true",
            "provider": "cpu",
            "precision": self._metadata[_PRECISION],
            "instruction_set": self._metadata.get("AOTI_CPU_ISA", ""),
            "torch": torch.__version__,
        }
