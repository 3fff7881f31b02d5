"""Finds models: the files in models/, loaded by path, never as a top-level package.

A model file defines ``MODEL = Model(...)``. It must import nothing heavy at the top, because listing imports
every file; torch belongs inside the functions.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UnknownNameError, UserError

SplitName = Literal["train", "calibration", "test"]


@dataclass(frozen=True)
class Split:
    """Examples as host arrays. ``inputs`` (one array per model input) and ``targets`` share their first axis."""

    inputs: tuple[NDArray[Any], ...]
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        lengths = {len(array) for array in (*self.inputs, self.targets)}
        if len(lengths) != 1 or 0 in lengths:
            raise UserError(f"a data split needs equally many (at least one) examples in all arrays, got {lengths}")

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, size: int, start: int = 0) -> tuple[NDArray[Any], ...]:
        """Return ``size`` examples from ``start`` on, wrapping around at the end; contiguous copies."""
        index = np.arange(start, start + size) % len(self)
        return tuple(np.ascontiguousarray(array[index]) for array in self.inputs)


@dataclass(frozen=True)
class Model:
    """A reference model, or the user's own.

    Attributes:
        build: ``seed → module`` in evaluation mode, trained. For torch models an ``nn.Module``.
        data: the split as host arrays; the same arrays for the same name every time.
        loss: ``(outputs, targets) → scalar tensor`` for fine-tuning; None when it cannot be trained here.
        metric: a name in ``harness.measure.quality.METRICS``.
        packages: distributions that ``build`` and ``data`` need beside torch; their versions enter cache keys.
        quality_margin: the drop that would still be acceptable, in the metric's own unit.
    """

    name: str
    task: str
    summary: str
    build: Callable[[int], Any]
    data: Callable[[SplitName], Split]
    metric: str
    source: str
    license: str
    loss: Callable[[Any, Any], Any] | None = None
    input_names: tuple[str, ...] = ("input",)
    output_names: tuple[str, ...] = ("output",)
    packages: tuple[str, ...] = ()
    extra: str = ""
    quality_margin: float = 0.01


def repository_root() -> Path | None:
    """Return the source checkout that this package runs from, or None when it is installed as a wheel."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "models").is_dir() else None


def resource_dir(name: Literal["models", "suites"]) -> Path:
    """Return the folder of models or suites: the repository's own, else the package's data."""
    root = repository_root()
    return root / name if root else Path(__file__).resolve().parent / "_data" / name


def model_files() -> dict[str, Path]:
    """Map model names (``digits-cnn``) to their files (``models/digits_cnn.py``).

    A file whose name begins with an underscore keeps it (``_fake``): such models are usable but not listed.
    """
    files = sorted(resource_dir("models").glob("*.py"))
    return {p.stem if p.stem.startswith("_") else p.stem.replace("_", "-"): p for p in files}


def model_path(name: str) -> Path:
    """Return the file of a model; raises UnknownNameError with a suggestion."""
    files = model_files()
    if name not in files:
        raise UnknownNameError("model", name, files)
    return files[name]


def module_name(path: Path) -> str:
    """Return the name under which a model file's module is registered, so that pickles of it load again."""
    return f"harness_models_{path.stem}"


def import_file(path: Path) -> Any:
    """Import a Python file under its registered name, once per process."""
    name = module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_model(name: str) -> Model:
    """Return the ``MODEL`` of a model file; raises UserError when the file has none."""
    path = model_path(name)
    model = getattr(import_file(path), "MODEL", None)
    if not isinstance(model, Model):
        raise UserError(f"{path}: defines no MODEL = Model(...)")
    return model
