"""Finds models: the files in models/, loaded by path, never as a top-level package.

A model file defines ``MODEL = Model(...)``. It must import nothing heavy at the top, because listing imports
every file; torch belongs inside the functions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UnknownNameError, UserError
from harness.schema import InputSpec

SplitName = Literal["train", "calibration", "test"]
Form = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Split:
    """Examples as host arrays.

    Attributes:
        inputs: one array per model input; the first axis counts examples.
        targets: what is right, one an example; None where that is not known.
        stacked: False when a batch is a slice of the first axis. True for a model without a batch axis: then one
            example is one whole call, and the first axis only stacks them.
    """

    inputs: tuple[NDArray[Any], ...]
    targets: NDArray[Any] | None = None
    stacked: bool = False

    def __post_init__(self) -> None:
        arrays = self.inputs if self.targets is None else (*self.inputs, self.targets)
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1 or 0 in lengths:
            raise UserError(
                f"a data split needs equally many (at least one) examples in all arrays, got {sorted(lengths)}"
            )

    def __len__(self) -> int:
        return len(self.inputs[0])

    def batch(self, size: int, start: int = 0) -> tuple[NDArray[Any], ...]:
        """Return ``size`` examples from ``start`` on, wrapping around at the end; contiguous copies.

        Raises ValueError for more than one example of a model without a batch axis.
        """
        if self.stacked:
            if size != 1:
                raise ValueError(f"this model has no batch axis, so {size} examples cannot be one call")
            # Not ascontiguousarray: it would give a scalar input an axis.
            return tuple(np.array(array[start % len(self)], order="C") for array in self.inputs)
        index = np.arange(start, start + size) % len(self)
        return tuple(np.ascontiguousarray(array[index]) for array in self.inputs)


@dataclass(frozen=True)
class Model:
    """A reference model, or the user's own.

    Attributes:
        build: ``seed → module`` in evaluation mode, trained. For torch models an ``nn.Module``, for ``form``
            ``onnx`` an ``OnnxFile``.
        data: the split as host arrays; the same arrays for the same name every time.
        loss: ``(outputs, targets) → scalar tensor`` for fine-tuning; None when it cannot be trained here.
        metric: a name in ``harness.measure.quality.METRICS``; empty to choose by the data: accuracy with
            targets, agreement with the unoptimized model without.
        form: what ``build`` returns.
        inputs: shapes and number formats where they are known; a model of its own may leave them to its data.
        output_names: names in a lowered graph; empty where nobody knows how many there are.
        packages: distributions that ``build`` and ``data`` need beside torch; their versions enter cache keys.
        quality_margin: the drop that would still be acceptable, in the metric's own unit.
        synthetic: whether ``data`` generates its inputs, so that quality says nothing about the real task.
        files: what ``build`` and ``data`` read beside packages, code and data; their contents enter cache keys.
        remedy: how to get ``files`` that are missing.
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
    form: Form = "torch"
    input_names: tuple[str, ...] = ("input",)
    inputs: tuple[InputSpec, ...] = ()
    output_names: tuple[str, ...] = ("output",)
    packages: tuple[str, ...] = ()
    extra: str = ""
    quality_margin: float = 0.01
    synthetic: bool = False
    files: tuple[Path, ...] = ()
    remedy: str = ""

    def missing_files(self) -> str | None:
        """Return which file is missing and the remedy, or None."""
        missing = next((path for path in self.files if not path.is_file()), None)
        return None if missing is None else f"{missing} is missing: {self.remedy}"


@dataclass(frozen=True)
class OnnxFile:
    """A model that is an ONNX file already; stands where other models have a torch module."""

    path: Path


def part_files(*names: str) -> tuple[Path, ...]:
    """Return files of ``harness.parts``, for ``Model.files``: a part that changed makes another model."""
    return tuple(Path(__file__).resolve().parent / "parts" / f"{name}.py" for name in names)


def repository_root() -> Path | None:
    """Return the source checkout that this package runs from, or None when it is installed as a wheel."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "models").is_dir() else None


def resource_dir(name: Literal["models", "suites"]) -> Path:
    """Return the folder of models or suites: the repository's own, else the package's data."""
    root = repository_root()
    return root / name if root else Path(__file__).resolve().parent / "_data" / name


def model_files(folder: Path | None = None) -> dict[str, Path]:
    """Map model names (``digits-cnn``) to their files (``models/digits_cnn.py``).

    ``folder`` holds models of the user's own, which come before the harness's. A file whose name begins with an
    underscore keeps it (``_fake``): such models are usable but not listed. Raises UserError for a folder that
    does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder} is no folder; --models names a folder of model files")
    files = sorted(resource_dir("models").glob("*.py")) + sorted(folder.glob("*.py") if folder else [])
    return {p.stem if p.stem.startswith("_") else p.stem.replace("_", "-"): p for p in files}


def model_path(name: str) -> Path:
    """Return the file of a model; raises UnknownNameError with a suggestion."""
    files = model_files()
    if name not in files:
        raise UnknownNameError("model", name, files)
    return files[name]


def module_name(path: Path) -> str:
    """Return the name under which a file's module is registered, so that pickles of it load again.

    A file that is none of the harness's own has its path in the name: two may be called the same.
    """
    if path.parent == resource_dir("models"):
        return f"harness_models_{path.stem}"
    stem = re.sub(r"[^A-Za-z0-9_]", "_", path.stem)  # a pickle of protocol 2 takes ASCII names only
    return f"harness_models_{stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"


def import_file(path: Path) -> Any:
    """Import a Python file under its registered name, once per process.

    A file that is none of the harness's own may import its neighbors, as a script may. Raises UserError, with
    the line, when the file does not exist or raises.
    """
    name = module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file")
    if path.parent != resource_dir("models") and str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # first, as a script's own folder is
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error
    return module


def load_model(name: str) -> Model:
    """Return the ``MODEL`` of a model file in models/; raises UnknownNameError and UserError."""
    return load_model_file(model_path(name))


def load_model_file(path: Path) -> Model:
    """Return the ``MODEL`` of a model file; raises UserError when the file has none."""
    model = getattr(import_file(path), "MODEL", None)
    if not isinstance(model, Model):
        raise UserError(f"{path} defines no MODEL = Model(...)")
    return model


def _place(error: BaseException, path: Path) -> str:
    """Return the innermost line of the user's own file that was running when it failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)
