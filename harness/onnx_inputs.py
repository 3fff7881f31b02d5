"""What an ONNX file takes: names, number formats, and concrete sizes for the axes that it leaves free.

Free sizes are found by trying: likely ones first, in ONNX Runtime, until the model runs. Integer inputs get a
range that the graph can look up.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError, did_you_mean
from harness.schema import InputSpec
from harness.userdata import is_stacked, synthetic

# Sizes that models in the wild are made for, the likeliest first, by the rank of the input.
LIKELY: Mapping[int, tuple[int, ...]] = {
    4: (224, 640, 320, 48, 32),  # images: height and width
    3: (128, 512, 1, 64, 16),  # sequences of features
    2: (128, 512, 256, 576, 16000, 1),  # tokens, or samples of sound
}
OTHER = (1, 16, 128)
MOST_ATTEMPTS = 60
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True)
class _Axis:
    """A free axis of one input; ``symbol`` is shared by axes that must agree."""

    symbol: str
    rank: int
    position: int


def choose_inputs(path: Path, given: Sequence[InputSpec] = ()) -> tuple[InputSpec, ...]:
    """Return concrete inputs with which the file runs.

    ``given`` inputs (by name) are taken as they are. The first axis is ``"batch"`` when it is free in every input
    and every output follows it. Raises UserError when the file cannot be opened, an input is no tensor, or no
    sizes are found.
    """
    session = open_session(path)
    declared = session.get_inputs()
    _check_names(given, [item.name for item in declared], path)
    stated = {spec.name: spec for spec in given}
    ranges = _lookup_ranges(path)
    base, axes = [], {}
    for item in declared:
        spec, axes[item.name] = _declared(item, path)
        base.append(_with_values(spec, ranges))
    if len(stated) == len(base):
        return tuple(_stated(stated[s.name], s) for s in base)
    tried, last, pinned = 0, "", _pinned(stated, axes)
    for guessed in itertools.islice(_assignments(axes, pinned), MOST_ATTEMPTS):
        sizes = {**guessed, **pinned}
        specs = tuple(_stated(stated[s.name], s) if s.name in stated else _sized(s, axes[s.name], sizes) for s in base)
        tried += 1
        last = _problem(session, specs)
        if not last:
            batched = tuple(replace(s, shape=("batch", *s.shape[1:])) if s.shape else s for s in specs)
            return batched if _follows_batch(session, batched, axes, set(stated)) else specs
    raise UserError(
        f"{path.name} did not run with any of {tried} input sizes that were tried; state them, as in "
        f"--input '{base[0].name}=1,3,224,224' (the last try failed with: {last})"
    )


def open_session(path: Path) -> Any:
    """Open a file with ONNX Runtime's defaults; raises UserError when that is impossible."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("an ONNX file needs onnxruntime: pip install 'optimization-harness[onnxruntime]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise UserError(f"ONNX Runtime cannot open {path}: {_short(error)}") from error


def run_session(session: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Run host arrays in the order of the graph's inputs; raises whatever ONNX Runtime raises."""
    names = [item.name for item in session.get_inputs()]
    return tuple(session.run(None, dict(zip(names, arrays, strict=True))))


def _declared(item: Any, path: Path) -> tuple[InputSpec, list[_Axis]]:
    if item.type not in _DTYPES:
        raise UserError(f"{path.name}: input '{item.name}' is a {item.type}; only tensors of numbers can be fed")
    rank = len(item.shape)
    shape: list[int | str] = []
    free = []
    for position, size in enumerate(item.shape):
        if isinstance(size, int) and size > 0:
            shape.append(size)
            continue
        named = isinstance(size, str) and size
        free.append(_Axis(str(size) if named else f"{item.name}/{position}", rank, position))
        shape.append(0)
    return InputSpec(item.name, _DTYPES[item.type], tuple(shape)), free


def _pinned(stated: Mapping[str, InputSpec], axes: Mapping[str, list[_Axis]]) -> dict[str, int | str]:
    """Return the sizes of symbols that stated inputs tell. A stated batch is that of every input that has one."""
    pinned: dict[str, int | str] = {}
    if any(spec.shape[:1] == ("batch",) for spec in stated.values()):
        pinned = {axis.symbol: "batch" for free in axes.values() for axis in free if axis.position == 0}
    for name, spec in stated.items():
        for axis in axes[name]:
            if axis.position < len(spec.shape):
                pinned[axis.symbol] = spec.shape[axis.position]
    return pinned


def _assignments(axes: Mapping[str, list[_Axis]], pinned: Mapping[str, int | str]) -> Iterator[dict[str, int]]:
    """Yield sizes for the free symbols: all at their first guess, all at their second, ... then mixtures."""
    choices: dict[str, tuple[int, ...]] = {}
    for free in axes.values():
        for axis in free:
            if axis.symbol in pinned:
                continue
            guesses = (1,) if axis.position == 0 or _is_batch(axis.symbol) else LIKELY.get(axis.rank, OTHER)
            known = choices.get(axis.symbol)
            choices[axis.symbol] = guesses if known is None or len(guesses) < len(known) else known
    symbols = list(choices)
    longest = max((len(c) for c in choices.values()), default=1)
    seen = set()
    level = (tuple(choices[s][min(i, len(choices[s]) - 1)] for s in symbols) for i in range(longest))
    for values in itertools.chain(level, itertools.product(*choices.values())):
        if values not in seen:
            seen.add(values)
            yield dict(zip(symbols, values, strict=True))


def _is_batch(symbol: str) -> bool:
    return re.fullmatch(r"(?i)(n|b|bs|batch([_ -]?size)?)", symbol) is not None


def _sized(spec: InputSpec, free: Sequence[_Axis], sizes: Mapping[str, int | str]) -> InputSpec:
    shape = list(spec.shape)
    for axis in free:
        size = sizes[axis.symbol]
        shape[axis.position] = 1 if size == "batch" and axis.position else size  # only a first axis can be the batch
    return replace(spec, shape=tuple(shape))


def _stated(stated: InputSpec, declared: InputSpec) -> InputSpec:
    """Return the user's spec, with the file's number format and value range where none is given."""
    low, high = (stated.low, stated.high) if stated.low is not None else (declared.low, declared.high)
    return replace(stated, dtype=declared.dtype, low=low, high=high)


def _with_values(spec: InputSpec, ranges: Mapping[str, int]) -> InputSpec:
    """Choose the range of synthetic values by the name and by what the graph looks up with them."""
    name = spec.name.lower()
    if spec.dtype == "uint8":
        return replace(spec, low=0, high=256)
    if np.dtype(spec.dtype).kind == "f":
        return spec
    if "mask" in name:
        return replace(spec, low=1, high=2)
    if "type" in name or "segment" in name:
        return replace(spec, low=0, high=1)
    if re.fullmatch(r"sr|fs|.*sampl(e|ing)_?rate", name):
        return replace(spec, low=16000, high=16001)
    if spec.name in ranges:
        return replace(spec, low=0, high=ranges[spec.name])
    return replace(spec, low=0, high=2)


# Operators that hand indices on unchanged.
_TRANSPARENT = {"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose"}


def _lookup_ranges(path: Path) -> dict[str, int]:
    """Return, for each integer input that indexes a table, the table's length (the least of several)."""
    try:
        import onnx
    except ImportError:
        return {}
    graph = onnx.load(str(path), load_external_data=False).graph
    tables = {t.name: tuple(t.dims) for t in graph.initializer}
    origin = {value.name: value.name for value in graph.input}
    ranges: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _TRANSPARENT and node.input and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        if node.op_type == "Gather" and node.input[0] in tables and node.input[1] in origin:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            length = int(tables[node.input[0]][axis])
            name = origin[node.input[1]]
            ranges[name] = min(ranges.get(name, length), length)
        if node.op_type == "OneHot" and node.input[0] in origin:
            ranges.setdefault(origin[node.input[0]], _one_hot_depth(graph, node.input[1]))
    return ranges


def _one_hot_depth(graph: Any, name: str) -> int:
    import onnx

    for tensor in graph.initializer:
        if tensor.name == name:
            return max(int(onnx.numpy_helper.to_array(tensor).reshape(-1)[0]), 1)
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            return max(int(onnx.numpy_helper.to_array(node.attribute[0].t).reshape(-1)[0]), 1)
    return 2


def _problem(session: Any, specs: Sequence[InputSpec]) -> str:
    """Return why the model does not run with these inputs; empty when it does."""
    try:
        run_session(session, synthetic(specs, 1, "test").batch(1))
    except Exception as error:  # noqa: BLE001 (ONNX Runtime's own errors share no base class)
        return _short(error)
    return ""


def _follows_batch(session: Any, specs: Sequence[InputSpec], axes: Mapping[str, list[_Axis]], stated: set[str]) -> bool:
    """Whether the first axis is free in every input, and two examples give two of every output."""
    for spec in specs:
        if spec.name in stated or not any(axis.position == 0 for axis in axes[spec.name]):
            return False
    assert not is_stacked(specs)
    try:
        outputs = run_session(session, synthetic(specs, 2, "test").batch(2))
    except Exception:  # noqa: BLE001 (the same)
        return False
    return all(getattr(o, "ndim", 0) >= 1 and o.shape[0] == 2 for o in outputs)


def _check_names(given: Sequence[InputSpec], names: Sequence[str], path: Path) -> None:
    for spec in given:
        if spec.name not in names:
            raise UserError(f"{path.name} has no input '{spec.name}'{did_you_mean(spec.name, names)}")


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text[:200] + ("..." if len(text) > 200 else "")
