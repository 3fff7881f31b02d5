"""What Inductor compiled, and under which settings: written beside the compiled module, held to when it is opened."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import UnsupportedError

DESCRIPTION_FILE = "inductor.json"
Mode = Literal["ahead-of-time", "just-in-time"]


@dataclass(frozen=True)
class Compiled:
    """How a module was compiled.

    Attributes:
        threads: that the generated loops ask for.
        precision: number formats of the computing layers.
        freezing: whether weights were constants to the compiler; INT8 kernels depend on it.
        layers, integer_layers: computing layers of the compiled program, and those that it states in integers.
        integer_kernels: kernels on integers in the compiled code, and how often it calls them.
        constants: number format → bytes of weights and constants; empty where the module carries them itself.
        graph_breaks: places where a just-in-time compiler had to return to Python.
    """

    mode: Mode
    threads: int
    precision: str
    freezing: bool
    layers: int = 0
    integer_layers: int = 0
    integer_kernels: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    graph_breaks: int | None = None

    def write(self, directory: Path) -> None:
        """Write it to ``inductor.json``."""
        (directory / DESCRIPTION_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=1))

    def require_threads(self, threads: int) -> None:
        """Raise UnsupportedError when it was compiled for another number of threads."""
        if self.threads != threads:
            raise UnsupportedError(f"the module was compiled for {self.threads} threads, not {threads}: build it anew")


def read_compiled(directory: Path) -> Compiled:
    """Read an artifact's ``inductor.json``."""
    return Compiled(**json.loads((directory / DESCRIPTION_FILE).read_text()))
