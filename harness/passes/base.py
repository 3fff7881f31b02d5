"""What a pass is: one optimization step with parameters.

A pass is a frozen dataclass; its fields are its parameters, validated when the suite is read. Its ``form``
says what it works on: a ``module`` pass maps a torch module to a torch module, a ``lowered`` pass rewrites an
artifact's files and is implemented for each backend by itself. Nothing heavy is imported at the top of a
pass's module.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.errors import UnsupportedError
from harness.registry import Registry
from harness.schema import Fidelity
from harness.zoo import Model, Split

PASSES: Registry[type[Pass]] = Registry("pass")


# Where in a build a pass works: on the torch module, on the program that torch.export makes of it, or on the
# lowered artifact's files.
Stage = Literal["module", "exported", "lowered"]


@dataclass(frozen=True)
class Change:
    """What a pass did: one line for people, and how many layers it changed of those it could have.

    ``layers`` and ``of`` are None for a pass that does not work layer by layer.
    """

    detail: str
    layers: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class BuildContext:
    """What a pass may use: the model with its data, the trial's batch size and the seed of everything random."""

    model: Model
    batch_size: int
    seed: int
    data: Callable[[Literal["train", "calibration", "test"]], Split]


class Pass(ABC):
    """Base of all passes. Subclasses are frozen dataclasses registered with ``@register``."""

    name: ClassVar[str]
    summary: ClassVar[str]
    form: ClassVar[Literal["module", "lowered"]]  # its place in a chain: all of the one before any of the other
    stages: ClassVar[Mapping[str, Stage]] = {}  # backend → where it works there, where that is not ``form``
    fidelity: ClassVar[Fidelity]
    precision: ClassVar[str] = ""  # the number format that it asks the computing layers to have
    distributions: ClassVar[tuple[str, ...]] = ()  # needed wherever it works
    requires: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # backend → distributions needed there as well
    extra: ClassVar[str] = ""  # the extra of pyproject.toml that installs what a backend's own extra does not
    # Backends that can take it. A module pass may be limited too (a dtype that a runtime cannot execute).
    backends: ClassVar[Mapping[str, str]] = {}  # backend → "" when supported, else the reason why not
    default_reason: ClassVar[str] = "no implementation for this backend"

    @classmethod
    def unsupported_on(cls, backend: str) -> str | None:
        """Return why this pass cannot be used with ``backend``, or None when it can."""
        if backend not in cls.backends:
            able = ", ".join(b for b, why in cls.backends.items() if not why)
            return f"{cls.name} on {backend}: {cls.default_reason} (it runs on: {able})"
        return f"{cls.name} on {backend}: {cls.backends[backend]}" if cls.backends[backend] else None

    @classmethod
    def stage_on(cls, backend: str) -> Stage:
        """Return where the pass works for a backend."""
        return cls.stages.get(backend, cls.form)

    @classmethod
    def distributions_on(cls, backend: str) -> tuple[str, ...]:
        """Return what must be installed to use the pass with a backend, beside the backend itself."""
        return (*cls.distributions, *cls.requires.get(backend, ()))

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return the changed module (in evaluation mode) and what was changed."""
        raise UnsupportedError(f"{self.name} is not a module pass")

    def apply_exported(self, program: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a changed ``torch.export.ExportedProgram`` and what was changed."""
        raise UnsupportedError(f"{self.name} is not a pass on exported programs")

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite the artifact in ``directory`` and return what was changed."""
        raise UnsupportedError(f"{self.name} is not a lowered pass")

    def requested_precision(self) -> str:
        """Return the number format that it asks the computing layers to have; empty for none."""
        return self.precision

    def params(self) -> dict[str, Any]:
        """All parameters, defaults included; they enter the cache key."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


def register(cls: type[Pass]) -> type[Pass]:
    """Class decorator: add the pass to ``PASSES``."""
    return PASSES.add(cls.name, cls)


def require_count(name: str, value: object) -> None:
    """Raise ValueError unless a parameter is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def require_share(name: str, value: object) -> None:
    """Raise ValueError unless a parameter lies strictly between 0 and 1."""
    if not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (both excluded), got {value!r}")
