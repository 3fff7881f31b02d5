"""Evidence from outside the workers that a round was disturbed: other processes' CPU, and steal.

A worker's own involuntary switches are no evidence: they belong to threaded work, and judging by them would
trim its tail.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

# A round is dirty when this share of the measured cores' time went elsewhere.
OTHER_SHARE = 0.05
STEAL_SHARE = 0.01


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment, in seconds: wall, idle and steal of the watched cores, CPU used by our processes."""

    wall_s: float
    idle_s: float
    steal_s: float
    own_s: float


@dataclass(frozen=True)
class Evidence:
    """What happened on ``cores`` cores during ``wall_s`` seconds."""

    wall_s: float
    cores: int
    other_cpu_s: float
    steal_s: float

    @property
    def share(self) -> float:
        """Share of the cores' time that went elsewhere."""
        capacity = self.wall_s * self.cores
        return (self.other_cpu_s + self.steal_s) / capacity if capacity > 0 else 0.0

    @property
    def dirty(self) -> bool:
        """Whether others took more than 5 %, or the hypervisor more than 1 %, of the cores' time."""
        capacity = self.wall_s * self.cores
        return self.other_cpu_s > OTHER_SHARE * capacity or self.steal_s > STEAL_SHARE * capacity


Probe = Callable[[Collection[int]], Snapshot]


def evidence(before: Snapshot, after: Snapshot, cores: int) -> Evidence:
    """Compare two snapshots of the same processes on the same cores."""
    wall = after.wall_s - before.wall_s
    steal = max(0.0, after.steal_s - before.steal_s)
    busy = wall * cores - (after.idle_s - before.idle_s)
    other = busy - (after.own_s - before.own_s) - steal
    return Evidence(wall, cores, max(0.0, other), steal)


def kernel_probe(cores: Collection[int]) -> Probe:
    """Return a probe that reads the kernel's counters of ``cores``.

    Idle time comes from /proc/stat (exact where ticks are off in idle, shown in 10 ms); processes' CPU from
    their CPU clocks in nanoseconds. This process counts as ours.
    """
    watched = {f"cpu{core}" for core in cores}
    here = set(cores)

    def probe(pids: Collection[int]) -> Snapshot:
        idle = steal = 0.0
        for line in Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in watched:
                idle += (int(fields[3]) + int(fields[4])) / _TICKS
                steal += int(fields[7]) / _TICKS
        own = sum(_cpu_s(pid) for pid in pids)
        if os.sched_getaffinity(0) & here:
            own += time.process_time()
        return Snapshot(time.perf_counter(), idle, steal, own)

    return probe


_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_clock_s(pid: int) -> float | None:
    """Return the CPU seconds of a process, its ended threads included, to the nanosecond; None when it is gone."""
    # The clock of another process, as clock_getcpuclockid(3) makes it: CPUCLOCK_SCHED is 2.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def _cpu_s(pid: int) -> float:
    return cpu_clock_s(pid) or 0.0  # one that has just ended is recorded as crashed and the round repeated
