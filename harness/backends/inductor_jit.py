"""Inductor just in time: for modules that torch.export cannot follow, compiled at their first call.

The artifact holds the module, the settings, and the compiler's cache as the build left it. A measured process works
on a copy of that cache, so that whatever it compiles does not alter the artifact.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays, LowerRequest, Session, raise_if_out_of_memory
from harness.backends.compiled import Compiled
from harness.backends.tensor_formats import precision_of
from harness.backends.torch_eager import MODULE_FILE, thread_facts, to_arrays
from harness.errors import InvalidOutputError
from harness.schema import Step

CACHE_FOLDER = "cache"
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_RESUMED = "torch_dynamo_resume_in_"


def compile_later(module: Any, request: LowerRequest, *, freezing: bool) -> Compiled:
    """Keep the module, compile it once, and keep what the compiler cached; say how often it returned to Python.

    To be called in a process that has compiled nothing ahead of time: that changes the keys of the cache, and a
    measured process would find nothing.
    """
    import torch

    settings = Compiled("just-in-time", request.threads, precision_of(module), freezing)
    torch.save(module, request.directory / MODULE_FILE)
    cache = request.directory / CACHE_FOLDER
    cache.mkdir()
    began = time.perf_counter()
    with _cache_at(cache):
        session = JitSession(request.directory, settings)
        for _ in range(2):  # the second call shows whether the first one's code holds
            session(request.example_inputs)
        breaks = session.executed()["graph_breaks"]
    request.note(Step("compile", time.perf_counter() - began, f"just in time; {breaks} graph breaks"))
    shutil.rmtree(cache / "locks", ignore_errors=True)
    return Compiled("just-in-time", request.threads, settings.precision, freezing, graph_breaks=breaks)


@contextmanager
def _cache_at(folder: Path) -> Iterator[None]:
    """Let the compiler begin anew with an empty cache in ``folder``."""
    import torch
    from torch._inductor.utils import clear_caches

    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = str(folder)
    torch._dynamo.reset()
    clear_caches()
    try:
        yield
    finally:
        clear_caches()
        os.environ.pop(_CACHE_VARIABLE)
        if before is not None:
            os.environ[_CACHE_VARIABLE] = before


def open_later(directory: Path, compiled: Compiled) -> JitSession:
    """Open the module with a copy of its cache, which is deleted when the session is closed or the process ends."""
    copy = tempfile.TemporaryDirectory(prefix="harness-inductor-")
    shutil.copytree(directory / CACHE_FOLDER, copy.name, dirs_exist_ok=True)
    os.environ[_CACHE_VARIABLE] = copy.name
    return JitSession(directory, compiled, copy)


class JitSession(Session):
    """A module that is compiled at its first call: host arrays in, host arrays out."""

    def __init__(
        self, directory: Path, compiled: Compiled, cache: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        import torch
        from torch._inductor import config

        self._torch = torch
        self._compiled = compiled
        self._cache = cache
        # Read whenever something is compiled, also in the midst of a measurement: so for the whole process.
        config.freezing = compiled.freezing
        config.cpp.threads = compiled.threads
        try:
            module = torch.load(directory / MODULE_FILE, weights_only=False)
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        self._compilations = len(_compilations())
        self._module: Any = torch.compile(module.eval().requires_grad_(False), dynamic=False)
        self._require_settings()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch; the first call of a kind compiles. Raises OutOfMemoryError where torch cannot allocate."""
        torch = self._torch
        try:
            with torch.inference_mode():
                return to_arrays(self._module(*map(torch.from_numpy, inputs)))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise

    def compilations(self) -> int:
        """Return how many pieces of the module have been compiled so far, again and for the first time."""
        return len(_compilations()) - self._compilations

    def executed(self) -> dict[str, Any]:
        """Return threads, settings, and what the compiler did so far; raises InvalidOutputError as opening does."""
        self._require_settings()
        mine = _compilations()[self._compilations :]
        return {
            **thread_facts(),
            "mode": self._compiled.mode,
            "compiled_threads": self._compiled.threads,
            "provider": "cpu",
            "precision": self._compiled.precision,
            "freezing": self._compiled.freezing,
            "graph_breaks": sum(name.startswith(_RESUMED) and not again for name, again in mine),
            "recompiles": sum(again for _, again in mine),
            "torch": self._torch.__version__,
        }

    def close(self) -> None:
        """Delete the copy of the cache."""
        if self._cache is not None:
            if os.environ.get(_CACHE_VARIABLE) == self._cache.name:
                del os.environ[_CACHE_VARIABLE]  # else torch makes the folder again
            self._cache.cleanup()

    def _require_settings(self) -> None:
        """Raise InvalidOutputError unless the compiler's settings are those of the build."""
        from torch._inductor import config

        asked = (self._compiled.freezing, self._compiled.threads)
        actual = (config.freezing, config.cpp.threads)
        if asked != actual:
            raise InvalidOutputError(
                f"built with freezing={asked[0]} and cpp.threads={asked[1]}, and the compiler here has "
                f"freezing={actual[0]} and cpp.threads={actual[1]}"
            )


def _compilations() -> list[tuple[str, bool]]:
    """Return, for each piece of code compiled in this process, its name and whether it had been compiled before."""
    from torch._dynamo.utils import get_compilation_metrics

    found = []
    for one in get_compilation_metrics():
        # "frame/times": the same frame for other inputs counts upwards.
        times = str(one.compile_id).rpartition("/")[2].partition("_")[0]
        found.append((str(one.co_name), times.isdecimal() and int(times) > 0))
    return found
