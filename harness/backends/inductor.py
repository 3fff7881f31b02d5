"""PyTorch's compiler: ahead of time where the module can be exported, else just in time."""

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
from harness.backends.compiled import read_compiled
from harness.backends.inductor_aot import PACKAGE_FILE, AheadSession, compile_ahead
from harness.backends.inductor_jit import compile_later, open_later
from harness.backends.profiles.inductor import profile_inductor
from harness.backends.torch_eager import openmp_environment, set_threads
from harness.errors import UnsupportedError
from harness.schema import Execution, Unmeasured
from harness.zoo import Form


class InductorBackend(Backend):
    """Compiles a module with fixed shapes to machine code for this CPU.

    The generated loops carry ``num_threads(n)``, which wins over OMP_NUM_THREADS: the number of threads is a
    part of the artifact.

    Options: ``mode`` is ``aot`` for a package that needs no compiler where it runs, ``jit`` for a module that is
    compiled at its first call, ``auto`` for the first where torch.export can follow the module, else the second.
    ``freezing`` lets the compiler take weights for constants; ``auto`` where integer kernels depend on it.
    """

    name = "inductor"
    summary = "PyTorch compiled by Inductor, ahead of time where it can be exported"
    format = "inductor"
    distributions = ("torch",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ()}
    extra = "torch"
    unpickles = True
    static_batch = True
    static_threads = True
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "mode": ("auto", "aot", "jit"),
        "freezing": ("auto", True, False),
    }

    def probe(self, role: Literal["build", "measure"], form: Form = "torch") -> Available | Unavailable:
        """Say whether torch is here and, to build, a C++ compiler; just in time needs one later too, see ``load``."""
        if role == "build" and _missing_compiler():
            return Unavailable(_missing_compiler())
        return super().probe(role, form)

    def environment(self, threads: int, options: Mapping[str, Any], cores: Sequence[int] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return OpenMP's threads, and one compile job: no pool of processes that outlives the build."""
        return {**openmp_environment(threads, cores), "TORCHINDUCTOR_COMPILE_THREADS": "1"}

    def import_runtime(self) -> None:
        """Import torch and the package loader."""
        import torch._inductor.package  # noqa: F401

    def needs_code(self, directory: Path) -> bool:
        """Whether the module is unpickled and compiled in the measured process."""
        return read_compiled(directory).mode == "just-in-time"

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Compile the module.

        Raises UnsupportedError where torch.export cannot follow it and ``mode`` or a pass asks for that, and
        InvalidOutputError when a quantized module came out without integer kernels.
        """
        mode, asked = self.option(request.options, "mode"), self.option(request.options, "freezing")
        freezing = None if asked == "auto" else bool(asked)
        module = module.eval()
        if mode == "jit" and request.transforms:
            raise UnsupportedError("mode=jit compiles the module itself, and a pass works on its exported program")
        program = None if mode == "jit" else self._export(module, request, required=mode == "aot")
        if program is not None:
            compiled = compile_ahead(module, request.transform(program), request, freezing)
        else:
            compiled = compile_later(module, request, freezing=bool(freezing))
        compiled.write(request.directory)

    def _export(self, module: Any, request: LowerRequest, *, required: bool) -> Any:
        """Return the exported program, or None where torch.export cannot follow the module and need not."""
        import torch

        examples = tuple(torch.from_numpy(array) for array in request.example_inputs)
        try:
            with torch.no_grad():
                return torch.export.export(module, examples)
        except Exception as error:
            raise_if_out_of_memory(error)
            if required or request.transforms:
                raise UnsupportedError(f"torch.export cannot follow this module: {first_line(error)}") from error
            return None

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Open what was compiled.

        Raises UnsupportedError when it was compiled for another number of threads, or when it is compiled just in
        time and there is no C++ compiler.
        """
        compiled = read_compiled(directory)
        compiled.require_threads(session.threads)
        set_threads(session.threads)
        if compiled.mode == "ahead-of-time":
            return AheadSession(directory, compiled)
        if _missing_compiler():
            raise UnsupportedError(f"compiled just in time, and {_missing_compiler()}")
        return open_later(directory, compiled)

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


def _missing_compiler() -> str:
    """Return what is missing and the remedy; empty when there is a C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    return "" if shutil.which(compiler) else f"no C++ compiler '{compiler}': apt-get install g++"
