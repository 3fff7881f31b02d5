"""How much of CPU and GPU a block of calls used: pure functions of samples that were taken from outside it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.measure.nvml import UTILIZATION_PERIOD_S, GpuSample
from harness.measure.processes import ThreadTime
from harness.schema import GpuUse, Unmeasured, Utilization

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Sample:
    """What was seen of a process tree at one moment.

    Attributes:
        at_s: seconds of a monotonic clock.
        processes: CPU seconds by process id, from the exact clocks; empty when the tree is gone.
        threads: by thread id.
        gpu: None where no GPU is watched.
    """

    at_s: float
    processes: Mapping[int, float]
    threads: Mapping[int, ThreadTime]
    energy_j: float | Unmeasured
    gpu: GpuSample | None = None


def utilization(
    samples: Sequence[Sample], pid: int, calls: int, gpu: str | Unmeasured | None
) -> Utilization | Unmeasured:
    """Return the use of CPU and GPU between the first sample and the last, or why there is none.

    Args:
        pid: the process whose calls were watched.
        gpu: the GPU's name, why it was not watched, or None where none is used.
    """
    window_s = samples[-1].at_s - samples[0].at_s if len(samples) > 1 else 0.0
    if window_s <= 0:
        return Unmeasured(f"{len(samples)} samples in {window_s:g} s: too few")
    if any(pid not in sample.processes for sample in (samples[0], samples[-1])):
        return Unmeasured("the process ended while it was watched")
    return Utilization(
        window_s=window_s,
        calls=calls,
        samples=len(samples),
        cores_used=_cpu_s(samples) / window_s,
        cores_waited=_waited(samples, window_s),
        per_core=_per_core(samples, window_s),
        gpu=gpu_use(samples, gpu) if isinstance(gpu, str) else gpu,
    )


def gpu_use(samples: Sequence[Sample], name: str) -> GpuUse | Unmeasured:
    """Return means over the samples; of the utilization rates only those whose period began inside the window."""
    began_s = samples[0].at_s
    seen = [sample.gpu for sample in samples if sample.gpu is not None]
    late = [s.gpu for s in samples if s.gpu is not None and s.at_s - began_s >= UTILIZATION_PERIOD_S]
    if not seen:
        return Unmeasured("the GPU was not sampled")
    return GpuUse(
        name=name,
        samples=len(seen),
        sm=_rate(late, lambda s: s.sm),
        memory=_rate(late, lambda s: s.memory),
        power_w=_mean([s.power_w for s in seen]),
        sm_clock_hz=_mean([s.sm_clock_hz for s in seen]),
        memory_clock_hz=_mean([s.memory_clock_hz for s in seen]),
        throttling=_shares([s.throttling for s in seen]),
    )


def process_bytes(samples: Sequence[Sample]) -> int | Unmeasured:
    """Return the most device memory that the driver counted for the processes, or why it counted none."""
    known = [s.gpu.process_bytes for s in samples if s.gpu is not None]
    sizes = [size for size in known if isinstance(size, int)]
    if sizes:
        return max(sizes)
    return next((size for size in known if isinstance(size, Unmeasured)), Unmeasured("the GPU was not sampled"))


def _cpu_s(samples: Sequence[Sample]) -> float:
    """Return the CPU seconds spent, those of a process that ended meanwhile up to where it was last seen."""
    pairs = itertools.pairwise(samples)
    return sum(sum(_spent(a.processes, b.processes).values()) for a, b in pairs)


def _per_core(samples: Sequence[Sample], window_s: float) -> dict[int, float] | Unmeasured:
    if not all(sample.threads for sample in samples):
        return Unmeasured("the kernel does not show the threads of the process")
    cores: dict[int, float] = {}
    for before, now in itertools.pairwise(samples):
        earlier = {tid: thread.cpu_s for tid, thread in before.threads.items()}
        spent = _spent(earlier, {tid: thread.cpu_s for tid, thread in now.threads.items()})
        for tid, seconds in spent.items():
            core = now.threads[tid].core
            cores[core] = cores.get(core, 0.0) + seconds / window_s
    return dict(sorted(cores.items()))


def _waited(samples: Sequence[Sample], window_s: float) -> float | Unmeasured:
    waited = 0.0
    for before, now in itertools.pairwise(samples):
        earlier, later = ({t: thread.waited_s for t, thread in s.threads.items()} for s in (before, now))
        if not later or None in later.values():
            return Unmeasured("the kernel does not count how long threads wait for a core")
        known = ({t: s for t, s in side.items() if s is not None} for side in (earlier, later))
        waited += sum(_spent(*known).values())
    return waited / window_s


def _spent(before: Mapping[K, float], now: Mapping[K, float]) -> dict[K, float]:
    """Return what was spent between two readings: one that is new, or whose number was given anew, began at 0."""
    return {key: s - before[key] if 0 <= before.get(key, -1.0) <= s else s for key, s in now.items()}


def _rate(late: Sequence[GpuSample], read: Callable[[GpuSample], float | Unmeasured]) -> float | Unmeasured:
    if not late:
        return Unmeasured(
            f"the window is shorter than the period of the GPU's utilization counter, {UTILIZATION_PERIOD_S:g} s"
        )
    return _mean([read(sample) for sample in late])


def _mean(values: Sequence[float | Unmeasured]) -> float | Unmeasured:
    known = _all_known(values)
    return known if isinstance(known, Unmeasured) else sum(known) / len(known)


def _shares(values: Sequence[frozenset[str] | Unmeasured]) -> dict[str, float] | Unmeasured:
    known = _all_known(values)
    if isinstance(known, Unmeasured):
        return known
    reasons = sorted(frozenset().union(*known))
    return {reason: sum(reason in found for found in known) / len(known) for reason in reasons}


def _all_known(values: Sequence[V | Unmeasured]) -> list[V] | Unmeasured:
    """Return the values, or the first reason: a mean over some of them would tell of another time."""
    known: list[V] = []
    for value in values:
        if isinstance(value, Unmeasured):
            return value
        known.append(value)
    return known
