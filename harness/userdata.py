"""Data for a model of the user's own: generated, from a function, or from a folder of arrays."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.schema import InputSpec
from harness.targets import Target, call
from harness.zoo import Split, SplitName

HELD_OUT = 4  # one example in so many is kept for calibration where the data has no splits of its own
CALIBRATION_EXAMPLES = 32
SYNTHETIC_BYTES = 64_000_000  # large inputs get fewer examples than asked for
FEWEST = 8
_SPLITS: tuple[SplitName, ...] = ("train", "calibration", "test")


def is_stacked(inputs: Sequence[InputSpec]) -> bool:
    """Whether the model has no batch axis: one call is one example."""
    return not all(spec.shape and spec.shape[0] == "batch" for spec in inputs)


def example_shape(spec: InputSpec, *, stacked: bool) -> tuple[int, ...]:
    """Return the shape of one example: without the batch axis, or of a whole call where there is none."""
    sizes = spec.shape if stacked else spec.shape[1:]
    return tuple(1 if size == "batch" else int(size) for size in sizes)


def synthetic(inputs: Sequence[InputSpec], examples: int, split: SplitName) -> Split:
    """Return generated inputs without targets, the same for the same arguments.

    ``calibration`` has at most 32 examples; all splits have fewer when they would exceed 64 MB.
    """
    stacked = is_stacked(inputs)
    shapes = [example_shape(spec, stacked=stacked) for spec in inputs]
    size = sum(int(np.prod(s)) * np.dtype(i.dtype).itemsize for s, i in zip(shapes, inputs, strict=True))
    count = max(min(examples, SYNTHETIC_BYTES // max(size, 1)), min(FEWEST, examples))
    if split == "calibration":
        count = min(count, CALIBRATION_EXAMPLES)
    rng = np.random.default_rng([7, _SPLITS.index(split)])
    return Split(tuple(_values(i, (count, *s), rng) for i, s in zip(inputs, shapes, strict=True)), None, stacked)


def _values(spec: InputSpec, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f" and spec.low is None and spec.high is None:
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    low = 0.0 if spec.low is None else spec.low
    high = (1.0 if dtype.kind == "f" else 2.0) if spec.high is None else spec.high
    if dtype.kind == "f":
        return rng.uniform(low, high, shape).astype(dtype)
    try:
        return rng.integers(int(low), max(int(high), int(low) + 1), shape, dtype=dtype)
    except ValueError as error:
        raise UserError(f"input '{spec.name}': {dtype} holds no values from {low:g} to {high:g}") from error


def from_function(function: Any, target: Target, inputs: Sequence[InputSpec], split: SplitName) -> Split:
    """Return a split that a user's function gives: a Split, inputs and targets, or inputs alone.

    The function takes the split's name; one that takes nothing gives all examples, of which every fourth is kept
    for calibration. Raises UserError for anything else, with what was got.
    """
    if len(positional(function)) == 0:
        return _held_out(_as_split(call(function, target), target, inputs), split)
    return _as_split(call(function, target, split), target, inputs)


def from_folder(folder: Path, inputs: Sequence[InputSpec], split: SplitName) -> Split:
    """Return a split from a folder of arrays.

    * ``test.npz`` and, for calibration, ``calibration.npz``: arrays named after the inputs, the first axis counting
      examples, and ``targets`` where they are known; or
    * one ``.npy`` (one input) or ``.npz`` (named after the inputs, and ``target``) an example; or
    * ``test_data_set_0/input_0.pb`` and so on, as ONNX models are published with.

    Raises UserError where the folder holds none of these, or arrays that do not fit the inputs.
    """
    if (folder / "test.npz").is_file():
        apart = (folder / "calibration.npz").is_file()
        path = folder / (f"{split}.npz" if apart else "test.npz")
        named = _load(path)
        found = _fitted(_pick(named, inputs, path), inputs, named.get("targets"), str(path))
        return found if apart else _held_out(found, split)
    examples = _loose_examples(folder, inputs)
    if not examples:
        raise UserError(
            f"{folder} holds no data: test.npz, one .npy or .npz an example, or test_data_set_0/input_0.pb are read"
        )
    for arrays, _ in examples:
        _check_count(len(arrays), inputs, f"an example in {folder}")
    targets = [target for _, target in examples]
    labeled = None if any(t is None for t in targets) else np.stack([np.asarray(t).reshape(()) for t in targets])
    try:
        stacks = tuple(np.stack(column) for column in zip(*(arrays for arrays, _ in examples), strict=True))
    except ValueError as error:
        raise UserError(f"the examples in {folder} differ in shape: {error}") from error
    return _held_out(_fitted(stacks, inputs, labeled, str(folder)), split)


def _loose_examples(folder: Path, inputs: Sequence[InputSpec]) -> list[tuple[tuple[Any, ...], Any]]:
    examples: list[tuple[tuple[Any, ...], Any]] = []
    for path in sorted([*folder.glob("*.npy"), *folder.glob("*.npz")]):
        if path.suffix == ".npy":
            examples.append(((_load(path)[""],), None))
            continue
        named = _load(path)
        examples.append((_pick(named, inputs, path), named.get("target")))
    return examples + [(_protobufs(path), None) for path in sorted(folder.glob("test_data_set_*"))]


def _load(path: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file by name, or the one of an .npy file under the empty name."""
    try:
        stored = np.load(path)
        if isinstance(stored, np.ndarray):
            return {"": stored}
        with stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as numpy arrays: {error}") from error


def _protobufs(folder: Path) -> tuple[Any, ...]:
    import onnx

    arrays = []
    for index in range(len(list(folder.glob("input_*.pb")))):
        tensor = onnx.TensorProto.FromString((folder / f"input_{index}.pb").read_bytes())
        arrays.append(onnx.numpy_helper.to_array(tensor))
    return tuple(arrays)


def _pick(named: Mapping[str, Any], inputs: Sequence[InputSpec], path: Path) -> tuple[Any, ...]:
    missing = [spec.name for spec in inputs if spec.name not in named]
    if missing:
        raise UserError(f"{path} has no array '{missing[0]}'; the model's inputs are: {_names(inputs)}")
    return tuple(named[spec.name] for spec in inputs)


def _names(inputs: Sequence[InputSpec]) -> str:
    return ", ".join(spec.name for spec in inputs)


def _as_split(value: Any, target: Target, inputs: Sequence[InputSpec]) -> Split:
    if isinstance(value, Split):
        return value
    targets = None
    pair = isinstance(value, tuple) and len(value) == 2
    if pair and (len(inputs) != 2 or isinstance(value[0], (tuple, list, Mapping))):
        value, targets = value
    if isinstance(value, Mapping):
        missing = [spec.name for spec in inputs if spec.name not in value]
        if missing:
            raise UserError(f"{target} gives no '{missing[0]}'; the model's inputs are: {_names(inputs)}")
        value = tuple(value[spec.name] for spec in inputs)
    arrays = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return _fitted(tuple(map(_array, arrays)), inputs, None if targets is None else _array(targets), str(target))


def _array(value: Any) -> NDArray[Any]:
    """Return a numpy array; torch tensors are taken as well."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _fitted(
    arrays: Sequence[NDArray[Any]], inputs: Sequence[InputSpec], targets: NDArray[Any] | None, where: str
) -> Split:
    """Hold arrays against the inputs: their number, the rank of an example, and its fixed sizes."""
    _check_count(len(arrays), inputs, where)
    stacked = is_stacked(inputs)
    fitted = []
    for array, spec in zip(arrays, inputs, strict=True):
        wanted = example_shape(spec, stacked=stacked)
        if array.shape[1:] == (1, *wanted):
            array = array[:, 0]  # every example came with a batch axis of its own
        if array.shape[1:] != wanted:
            expected = ", ".join(map(str, ("examples", *wanted)))
            raise UserError(f"{where}: input '{spec.name}' has shape {array.shape}, expected ({expected})")
        fitted.append(_cast(array, spec, where))
    return Split(tuple(fitted), targets, stacked)


def _check_count(count: int, inputs: Sequence[InputSpec], where: str) -> None:
    if count != len(inputs):
        raise UserError(f"{where} gives {count} inputs, the model takes {len(inputs)}: {_names(inputs)}")


def _cast(array: NDArray[Any], spec: InputSpec, where: str) -> NDArray[Any]:
    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    if np.can_cast(array.dtype, wanted, "same_kind"):
        return array.astype(wanted)
    raise UserError(f"{where}: input '{spec.name}' is {array.dtype}, the model takes {wanted}; convert it there")


def _held_out(everything: Split, split: SplitName) -> Split:
    """Split examples that came without splits: every fourth is for calibration, the others for the test."""
    count = len(everything)
    if count < 2:
        return everything
    index = np.arange(count)
    held = index % HELD_OUT == HELD_OUT - 1 if count >= HELD_OUT else index == count - 1
    chosen = index[~held if split == "test" else held]
    targets = None if everything.targets is None else everything.targets[chosen]
    return Split(tuple(a[chosen] for a in everything.inputs), targets, everything.stacked)


def positional(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that a call may give by position; none where Python cannot tell."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        return [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):
        return []
