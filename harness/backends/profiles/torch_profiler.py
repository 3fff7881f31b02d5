"""What PyTorch executes, from its own profiler: operators with the types of their arguments."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.backends.base import Arrays
from harness.backends.profiles import WARMUP_CALLS, Kind, Run, Watched, sandwich, timed_execution
from harness.schema import Execution, Unmeasured

SOURCE = "PyTorch profiler"
MOST_CALLS = 30  # each operator of a call is an object in Python
CALL = "harness_call"

COMPUTE = re.compile(
    r"(^|_)(mm|addmm|bmm|baddbmm|addbmm|mv|addmv|dot|matmul|linear|einsum|lstm|gru|rnn)(_|$)"
    r"|conv\d|convolution|qconv|qlinear|pack_mm|int_mm|scaled_dot_product|attention|mkl_linear"
)
_QUANTIZING = re.compile(r"quantize|choose_qparams|_to_mkldnn|to_dense|mkldnn_reorder|fake_quant|affine_quantized")
# What only gives memory, or another view of it, to the operator that calls it; told as one.
_VIEWS = {
    "alias", "as_strided", "as_strided_", "chunk", "contiguous", "detach", "empty", "empty_like", "empty_strided",
    "expand", "expand_as", "flatten", "lift_fresh", "narrow", "permute", "reshape", "_reshape_alias", "resize_",
    "resolve_conj", "resolve_neg", "select", "slice", "split", "squeeze", "t", "to", "transpose", "unbind",
    "unflatten", "unsqueeze", "_unsafe_view", "view", "view_as",
}  # fmt: skip
VIEWS = "views and allocations"
_COPIES = {"copy_", "fill_", "zero_"}
_RELAYOUTS = {"clone", "contiguous", "to", "_to_copy", "to_copy"}
_FORMATS = {
    "double": "float64", "float": "float32", "c10::Half": "float16", "c10::BFloat16": "bfloat16",
    "signed char": "int8", "unsigned char": "int8", "c10::qint8": "int8", "c10::quint8": "int8",
    "c10::Float8_e4m3fn": "float8", "c10::Float8_e5m2": "float8",
    "int": "int32", "long int": "int64", "long": "int64", "bool": "bool",
}  # fmt: skip
_NO_TENSORS = {"", "Scalar", "ScalarList", "TensorList", "GenericList"}
# A compiled graph; its own time is that of its generated loops, which do not appear one by one. Whatever else has
# no namespace in its name is bookkeeping of the compiler, or a mark that somebody set.
_COMPILED = "CompiledFxGraph"
GENERATED = "generated loops, with the Python that calls them"


def profile_torch(
    run: Callable[[Arrays], object],
    batches: Sequence[Arrays],
    calls: int,
    *,
    cuda: bool = False,
    graph_breaks: int | None = None,
    recompiles: int | None = None,
) -> Execution | Unmeasured:
    """Watch at most ``calls`` calls, each of which returns when its work is done.

    With ``cuda`` operators count by the time of the kernels that they started.
    """
    told = timed_execution(SOURCE, watch_torch(run, batches, min(calls, MOST_CALLS), cuda=cuda))
    if isinstance(told, Unmeasured):
        return told
    return dataclasses.replace(told, graph_breaks=graph_breaks, recompiles=recompiles)


def watch_torch(
    run: Callable[[Arrays], object], batches: Sequence[Arrays], calls: int, *, cuda: bool = False
) -> Watched:
    """Return the operators of each watched call."""
    from torch.profiler import ProfilerActivity, profile, record_function

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    profiler = profile(activities=activities, record_shapes=True, acc_events=True)

    def watched(batch: Arrays) -> object:
        with record_function(CALL):
            return run(batch)

    plain_s, watched_s = sandwich(run, watched, batches, calls, around=profiler)
    events = profiler.events() or ()  # type: ignore[no-untyped-call]
    roots = [event for event in events if event.name == CALL and event.cpu_parent is None]
    runs = runs_on_cuda if cuda else runs_on_cpu
    return Watched([list(runs(root)) for root in roots[WARMUP_CALLS:]], plain_s, watched_s)


def runs_on_cpu(root: Any) -> Iterator[Run]:
    """Yield the operators below an event that do the work themselves, with the time that is their own.

    What an operator spends while others do its work (``aten::conv2d`` → ``aten::mkldnn_convolution``) is dispatch,
    and belongs to no operator.
    """
    for event in _below(root):
        if _COMPILED in event.name:
            yield Run(GENERATED, "", "other", event.self_cpu_time_total / 1e6)
        elif "::" in event.name and not _is_dispatch(event):
            yield _run(event, event.self_cpu_time_total / 1e6)


def runs_on_cuda(root: Any) -> Iterator[Run]:
    """Yield the operators below an event that started kernels, with these kernels' time."""
    for event in _below(root):
        if event.self_device_time_total > 0:
            yield _run(event, event.self_device_time_total / 1e6)


def _below(event: Any) -> Iterator[Any]:
    for child in event.cpu_children:
        yield child
        yield from _below(child)


def _is_dispatch(event: Any) -> bool:
    """Whether others do the work that an operator is named for.

    A product or convolution is such a name only for others that compute: one that first puts its inputs in order
    (``mkldnn_convolution`` → ``contiguous`` → ``clone`` → ``copy_``) does its own work after that.
    """
    if COMPUTE.search(_short(event.name)):
        return any("::" in below.name and COMPUTE.search(_short(below.name)) for below in _below(event))
    return any(_works(child) for child in event.cpu_children)


def _works(event: Any) -> bool:
    """Tell whether an operator does work, and does not merely give another view or memory."""
    return _short(event.name) not in _VIEWS or any(_works(child) for child in event.cpu_children)


def _run(event: Any, seconds: float) -> Run:
    types = [name for name in event.input_dtypes or () if name not in _NO_TENSORS]
    kind = _kind(event, types)
    if _short(event.name) in _VIEWS:
        return Run(VIEWS, "", kind, seconds)
    return Run(event.name, format_of(event.name, types, kind), kind, seconds)


def _kind(event: Any, types: Sequence[str]) -> Kind:
    name, parent = _short(event.name), _short(event.cpu_parent.name) if event.cpu_parent else ""
    if any(_QUANTIZING.search(_short(above.name)) for above in _lineage(event)):
        return "conversion"
    if name in _COPIES:
        changes = len(types) > 1 and types[0] != types[1]
        return "conversion" if changes or (name == "copy_" and parent in _RELAYOUTS) else "other"
    return "compute" if COMPUTE.search(name) else "other"


def _lineage(event: Any) -> Iterator[Any]:
    """Yield an event and those above it, up to the call."""
    while event is not None and event.name != CALL:
        yield event
        event = event.cpu_parent


def format_of(name: str, types: Sequence[str], kind: Kind) -> str:
    """Return the number format from an operator's name and the types of its tensors, as the profiler calls them."""
    if kind == "compute":
        if "int4pack" in name:
            return "int4"
        if "int8pack" in name or re.search(r"qlinear|qconv|^quantized::", name):
            return "int8"
        if "int8" in {_FORMATS.get(item) for item in types[:2]}:
            return "int8"
    if _short(name) == "copy_" and len(types) > 1:
        types = types[1:]  # the source
    return _FORMATS.get(types[0], types[0]) if types else ""


def _short(name: str) -> str:
    return name.rsplit("::", 1)[-1]
