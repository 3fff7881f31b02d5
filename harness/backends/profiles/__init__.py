"""What the runtimes' profilers have in common: from single runs of operators to an ``Execution``.

Each module of this package reads one runtime's own account. A kernel that multiplies by packed integer weights
(weight-only quantization) is told under the weights' format, because that is what makes it another kernel.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from harness.backends.base import Arrays
from harness.schema import Execution, OperatorUse, Unmeasured

Kind = Literal["compute", "conversion", "other"]

WARMUP_CALLS = 2
PAUSE_S = 0.06  # until an idle pool of threads has stopped spinning (ONNX Runtime's spins for 40 ms)
TOLD_SLOWDOWN = 1.1

# Bits of a number; formats that are not here (integers as indices) say nothing about precision.
WIDTHS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16, "float8": 8, "int8": 8, "int4": 4}

_FAMILIES = (
    ("attention blocks", re.compile("attention|mha|sdpa", re.I)),
    ("convolutions", re.compile("conv", re.I)),
    ("recurrent layers", re.compile("lstm|gru|rnn", re.I)),
)
_PRODUCTS = "matrix products"
_PACKED = re.compile("NBits|Compressed|_weight_int|int4pack|int8pack")


@dataclass(frozen=True)
class Run:
    """One run of an operator in one call; ``format`` and ``kind`` as in ``OperatorUse``."""

    name: str
    format: str
    kind: Kind
    seconds: float = 0.0


@dataclass(frozen=True)
class Watched:
    """What was seen of the watched calls.

    Attributes:
        calls: the operators' runs of each call; one entry of means where the profiler tells no single call.
        plain_s, watched_s: wall seconds of each call without and with the profiler.
    """

    calls: Sequence[Sequence[Run]]
    plain_s: Sequence[float]
    watched_s: Sequence[float]


def sandwich(
    plain: Callable[[Arrays], object],
    watched: Callable[[Arrays], object],
    batches: Sequence[Arrays],
    calls: int,
    around: AbstractContextManager[object] | None = None,
) -> tuple[list[float], list[float]]:
    """Time ``calls`` watched calls between two halves of as many plain ones; returns seconds of both.

    Each part begins with ``WARMUP_CALLS`` untimed calls; ``around`` is entered for the watched part. In between
    is a pause, or the pool of threads of the one would take the cores from the other.
    """

    def block(run: Callable[[Arrays], object], count: int) -> list[float]:
        for i in range(WARMUP_CALLS):
            run(batches[i % len(batches)])
        seconds = []
        for i in range(count):
            began = time.perf_counter()
            run(batches[i % len(batches)])
            seconds.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
        return seconds

    half = (calls + 1) // 2
    before = block(plain, half)
    with around or nullcontext():
        seconds = block(watched, calls)
    return before + block(plain, half), seconds


def by_time(calls: Sequence[Sequence[Run]]) -> tuple[OperatorUse, ...]:
    """Return each operator's share of the operators' time, largest first.

    An operator's time is the median over calls of all its runs in a call: one call that waited for the core
    changes nothing. Empty where all of them took less than the profiler can tell.
    """
    times: dict[tuple[str, str, Kind], list[float]] = defaultdict(lambda: [0.0] * len(calls))
    for i, runs in enumerate(calls):
        for run in runs:
            times[run.name, run.format, run.kind][i] += run.seconds
    medians = {key: statistics.median(seconds) for key, seconds in times.items()}
    total = sum(medians.values())
    if not total:
        return ()
    counts = _counts(calls)
    uses = [OperatorUse(*key, share=seconds / total, count=counts[key]) for key, seconds in medians.items()]
    return tuple(sorted(uses, key=lambda use: (-use.share, use.name)))


def by_count(calls: Sequence[Sequence[Run]]) -> tuple[OperatorUse, ...]:
    """Return each operator's share of the number of runs, largest first."""
    counts = _counts(calls)
    total = sum(counts.values())
    uses = [OperatorUse(*key, share=count / total, count=count) for key, count in counts.items()]
    return tuple(sorted(uses, key=lambda use: (-use.share, use.name)))


def timed_execution(
    source: str, watched: Watched, fallbacks: Iterable[str] = (), graph_breaks: int | None = None
) -> Execution | Unmeasured:
    """Return what was executed by time, or by count where the profiler's clock is too coarse for it."""
    operators = by_time(watched.calls)
    if not any(watched.calls):
        return Unmeasured(f"{source} shows no operators")
    timed, said = bool(operators), tuple(fallbacks)
    operators = operators or by_count(watched.calls)
    return Execution(
        source + _slowdown(watched),
        basis="time" if timed else "count",
        calls=len(watched.watched_s),
        operators=operators,
        outside_share=outside_share(watched) if timed else Unmeasured("the operators' time is below the clock's step"),
        # The runtime's own sentence may say the same with what was asked before it.
        fallbacks=(*said, *(s for s in wider(operators) if not any(other.endswith(s) for other in said))),
        graph_breaks=graph_breaks,
    )


def outside_share(watched: Watched) -> float | Unmeasured:
    """Return the share of a plain call's wall time that the operators do not account for, at the least.

    The operators' time contains a little of the profiler's own cost, the plain call none of it. Against the
    wall time of a watched call the share would come out too high, since the profiler works between operators.
    Unmeasured where that cost, or the host, made the operators together longer than a plain call.
    """
    inside = statistics.median(sum(run.seconds for run in runs) for runs in watched.calls)
    wall = statistics.median(watched.plain_s)
    if inside >= wall:
        return Unmeasured("under the profiler the operators alone took longer than a plain call")
    return 1.0 - inside / wall


def wider(operators: Sequence[OperatorUse]) -> tuple[str, ...]:
    """Return sentences on computing operators that ran in a wider format than the narrowest of them.

    Kernels of packed weights don't count: beside them all else is meant to run in floating point.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for use in operators:
        if use.kind == "compute" and use.format in WIDTHS and not _PACKED.search(use.name):
            counts[family(use.name)][use.format] += use.count  # type: ignore[assignment]  # runs in one call may be a mean
    narrowest = min((WIDTHS[name] for formats in counts.values() for name in formats), default=0)
    sentences = []
    for name, formats in counts.items():
        total = sum(formats.values())
        for number_format, count in formats.items():
            if WIDTHS[number_format] > narrowest:
                sentences.append(f"{count:g} of {total:g} {name} ran in {number_format}")
    return tuple(sentences)


def family(name: str) -> str:
    """Return in plain words what a computing operator is, whatever its runtime calls it."""
    return next((words for words, pattern in _FAMILIES if pattern.search(name)), _PRODUCTS)


def _counts(calls: Sequence[Sequence[Run]]) -> dict[tuple[str, str, Kind], float]:
    counts = Counter((run.name, run.format, run.kind) for runs in calls for run in runs)
    return {key: count / len(calls) for key, count in counts.items()}


def _slowdown(watched: Watched) -> str:
    factor = statistics.median(watched.watched_s) / statistics.median(watched.plain_s)
    return f" (watched calls took {factor:.1f} times as long as plain ones)" if factor > TOLD_SLOWDOWN else ""
