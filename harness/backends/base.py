"""What a backend is: it lowers a module to files, and loads those files into a session.

Nothing heavy may be imported at the top of a backend's module: the coordinator imports all of them to list
and probe. A runtime is imported in ``import_runtime``, inside the worker.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import OutOfMemoryError, UnsupportedError
from harness.schema import Execution, Fidelity, Step, Unmeasured
from harness.zoo import Form

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Available:
    """The backend can be used here; ``versions`` of the distributions that do the work."""

    versions: dict[str, str]


@dataclass(frozen=True)
class Unavailable:
    """The backend cannot be used here; ``reason`` names the command that would make it so."""

    reason: str


@dataclass(frozen=True)
class LowerRequest:
    """What lowering needs beside the module.

    Attributes:
        example_inputs: one batch of real inputs; first axis is the batch.
        input_names, output_names: names in the lowered graph.
        directory: an empty folder for the artifact's files.
        options: the variant's options for this backend.
        threads: intra-op threads of the later session, for a backend that bakes them in (``static_threads``).
        batched: whether the first axis of every input is the batch.
        transform: what passes do to the exported program before it is compiled; for backends that export.
        transforms: whether there are such passes, so that lowering without an exported program is no way.
        note: takes steps of lowering whose time is told apart.
    """

    example_inputs: Arrays
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    directory: Path
    options: Mapping[str, Any]
    threads: int = 1
    batched: bool = True
    transform: Callable[[Any], Any] = lambda program: program
    transforms: bool = False
    note: Callable[[Step], None] = lambda _: None


@dataclass(frozen=True)
class SessionOptions:
    """How a session is opened: ``threads`` for intra-op work, the variant's backend options, and the device."""

    threads: int
    options: Mapping[str, Any]
    device: str = "cpu"


class Session(ABC):
    """A loaded artifact, ready to run."""

    @abstractmethod
    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch: host arrays in, materialized host arrays out (the one rule for what is timed)."""

    def timed(self, inputs: Arrays) -> object:
        """Run one batch as it is timed; what it returns is thrown away.

        The same as a call, so host array in, host array out, except where an option with a name of its own says
        that data stays on a device: then it returns when the device is done.
        """
        return self(inputs)

    def synchronize(self) -> None:  # noqa: B027 (only devices with a queue override it)
        """Wait until all work that was handed over is done."""

    def reset_device_memory(self) -> None:  # noqa: B027 (only devices with memory of their own override it)
        """Set the marks of ``device_memory`` back to the present."""

    def device_memory(self) -> dict[str, Any] | None:
        """Return the device's ``uuid`` and its allocator's ``allocated_peak_bytes`` and ``reserved_peak_bytes``.

        None where the session uses no device with memory of its own.
        """
        return None

    def compilations(self) -> int | None:
        """Return how many pieces of code were compiled in this process so far; None where it compiles nothing."""
        return None

    @abstractmethod
    def executed(self) -> dict[str, Any]:
        """What really runs, read from the runtime: at least ``threads`` and ``provider``; for the record."""

    def close(self) -> None:  # noqa: B027 (most runtimes free themselves)
        """Release the runtime's resources."""


class Backend(ABC):
    """A runtime. Subclasses are stateless; one instance stands in ``BACKENDS``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    format: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]]  # needed to measure; their versions enter the cache key
    forms: ClassVar[Mapping[Form, tuple[str, ...]]]  # what it can lower → distributions that takes as well
    extra: ClassVar[str] = ""  # the extra of pyproject.toml that installs them
    unpickles: ClassVar[bool] = False  # whether the measured process may need the code of the module's classes
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    static_batch: ClassVar[bool] = False  # whether the batch size is baked into the artifact
    static_threads: ClassVar[bool] = False  # whether the thread count is baked into the artifact
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # name → allowed values, the default first; () for any

    def probe(self, role: Literal["build", "measure"], form: Form = "torch") -> Available | Unavailable:
        """Say whether this interpreter can do ``role`` for a model of ``form``, without importing the runtime."""
        needed = self.distributions + (self.forms.get(form, ()) if role == "build" else ())
        versions, missing = distribution_versions(needed)
        if missing:
            hint = f"pip install 'optimization-harness[{self.extra}]'" if self.extra else "install them"
            return Unavailable(f"{', '.join(missing)} not installed: {hint}")
        return Available(versions)

    def environment(self, threads: int, options: Mapping[str, Any], cores: Sequence[int] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return environment variables that must be set before the worker's interpreter starts.

        ``cores`` are those of a measured process; empty for a build, which may go anywhere.
        """
        return {}

    def option(self, options: Mapping[str, Any], name: str) -> Any:
        """Return an option's value or its default; raises UnsupportedError for an unknown value."""
        allowed = self.options[name]
        value = options.get(name, allowed[0])
        if value not in allowed:
            known = ", ".join(map(str, allowed))
            raise UnsupportedError(f"backend {self.name} has no {name}={value}; it has: {known}")
        return value

    def needs_code(self, directory: Path) -> bool:  # noqa: ARG002
        """Whether the artifact in ``directory`` can be opened only with the code of the module's classes."""
        return self.unpickles

    def fidelity(self, options: Mapping[str, Any]) -> Fidelity:  # noqa: ARG002
        """Return how close outputs must stay to the reference for what the options alone change."""
        return Fidelity.RUNTIME

    @abstractmethod
    def import_runtime(self) -> None:
        """Import what the measured process needs, so that the memory floor can be read before the model."""

    @abstractmethod
    def lower(self, module: Any, request: LowerRequest) -> None:
        """Write the artifact's files into ``request.directory``.

        Raises UnsupportedError when this module cannot be expressed here.
        """

    @abstractmethod
    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Open the artifact. Raises UnsupportedError when the runtime refuses its operators or precision."""

    def format_of(self, directory: Path) -> str:  # noqa: ARG002
        """Return the file format of an artifact, which a pass may have changed."""
        return self.format

    def profile(
        self,
        directory: Path,  # noqa: ARG002
        options: SessionOptions,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        batches: Sequence[Arrays],  # noqa: ARG002
        calls: int,  # noqa: ARG002
    ) -> Execution | Unmeasured:
        """Run ``calls`` calls under the runtime's own profiler and say what it executed.

        ``session`` is the loaded artifact; a runtime whose profiler must be asked for at the start opens another
        one from ``directory``. Called last in its process, so it may leave it slower than it was.
        """
        return Unmeasured(f"backend {self.name} does not tell what it executes")


def distribution_versions(names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of installed distributions and the names of missing ones; imports none."""
    versions: dict[str, str] = {}
    missing: list[str] = []
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return versions, missing


def as_arrays(outputs: Any) -> Arrays:
    """Normalize a runtime's outputs (one array, a list, a mapping) to a tuple of contiguous host arrays."""
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if not isinstance(outputs, (list, tuple)):
        outputs = [outputs]
    return tuple(np.asarray(item) for item in outputs)


# What torch, the C++ library, ONNX Runtime, OpenVINO and CUDA say when memory runs out.
_ALLOCATION_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "failed to allocate",
    "could not allocate",
    "out of memory",
)


def raise_if_out_of_memory(error: Exception) -> None:
    """Raise OutOfMemoryError from a runtime's error when that is what it means; else return.

    For ``except`` blocks, which cost nothing until something is raised: a call is timed with its ``try``.
    """
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _ALLOCATION_SIGNS):
        raise OutOfMemoryError(first_line(error)) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without terminal colors, or its type's name."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
