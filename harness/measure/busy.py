"""Is somebody else using this host right now? Looked at for a second before a run, by CPU time from /proc."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

LOOK_S = 1.0
LOOKS = 5  # what ends within this many looks was only passing
LABEL_CORES = 0.1  # others that use more than this are named
SHOWN = 3


@dataclass(frozen=True)
class Neighbor:
    """A process that is none of ours, and how many cores it used."""

    pid: int
    name: str
    cores: float


@dataclass(frozen=True)
class Busy:
    """What others used.

    Attributes:
        cores: how many cores there are.
        used: cores' worth of time that was not idle, steal included, our own use left out.
        neighbors: who used it as far as it can be told, the busiest first.
    """

    cores: int
    used: float
    neighbors: tuple[Neighbor, ...]

    @property
    def free(self) -> float:
        """Cores that are left."""
        return max(0.0, self.cores - self.used)

    def describe(self) -> str:
        """Return who uses how much: ``others use 1.9 of 2 cores (stress-ng pid 4711: 1.0, ...)``."""
        text = f"others use {self.used:.1f} of {self.cores} cores"
        named = ", ".join(f"{n.name} pid {n.pid}: {n.cores:.1f}" for n in self.neighbors[:SHOWN])
        return f"{text} ({named})" if named else text


def look(seconds: float = LOOK_S, sleep: Callable[[float], None] = time.sleep) -> Busy:
    """Return what others used of all cores in the next ``seconds``."""
    own = psutil.Process()
    before, began = _cpu_seconds(), time.perf_counter()
    total = _busy_seconds()
    mine = sum(own.cpu_times()[:2])
    sleep(seconds)
    wall = max(time.perf_counter() - began, 1e-9)
    used = (_busy_seconds() - total - (sum(own.cpu_times()[:2]) - mine)) / wall
    neighbors = _grown(before, _cpu_seconds(), wall, own.pid)
    return Busy(psutil.cpu_count() or 1, max(0.0, used), neighbors)


def settle(threads: int, looks: int = LOOKS, look_: Callable[[], Busy] = look) -> Busy:
    """Look until ``threads`` cores are free, or ``looks`` times; returns the last look."""
    seen = look_()
    for _ in range(looks - 1):
        if not crowded(seen, threads):
            break
        seen = look_()
    return seen


def crowded(seen: Busy, threads: int) -> bool:
    """Whether fewer than ``threads`` cores are left; half a core's worth is the grain of the kernel's counters."""
    return seen.free < min(threads, seen.cores) - 0.5


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _cpu_seconds() -> dict[int, tuple[str, float]]:
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            found[process.pid] = (process.info["name"] or "?", times.user + times.system)
    return found


def _grown(
    before: Mapping[int, tuple[str, float]], after: Mapping[int, tuple[str, float]], wall_s: float, own: int
) -> tuple[Neighbor, ...]:
    grown: Sequence[Neighbor] = [
        Neighbor(pid, name, (seconds - before[pid][1]) / wall_s)
        for pid, (name, seconds) in after.items()
        if pid != own and pid in before
    ]
    return tuple(sorted((n for n in grown if n.cores > LABEL_CORES), key=lambda n: -n.cores))
