"""Evidence from outside the workers that a round was disturbed: other processes' CPU, and steal.

A worker's own involuntary switches are no evidence: they belong to threaded work, and judging by them would
trim its tail.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.schema import Disturbance, Unmeasured

# A round is dirty when this share of the measured cores' time went elsewhere.
OTHER_SHARE = 0.05
STEAL_SHARE = 0.01


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment, in seconds.

    Attributes:
        idle_s, steal_s: of the watched cores together.
        own_s: CPU used by our processes.
        waiting_s: time in which some task of the host waited for a CPU (PSI); None where the kernel does not say.
            Our own threads waiting for each other count, so it is shown and judges nothing.
        frequency_hz: mean of the watched cores; None where it cannot be read, as in most virtual machines.
    """

    wall_s: float
    idle_s: float
    steal_s: float
    own_s: float
    waiting_s: float | None = None
    frequency_hz: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What happened on ``cores`` cores during ``wall_s`` seconds."""

    wall_s: float
    cores: int
    other_cpu_s: float
    steal_s: float
    waiting_s: float | None = None
    frequency_hz: float | None = None
    own_cpu_s: float = 0.0

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
    waiting = None
    if before.waiting_s is not None and after.waiting_s is not None:
        waiting = after.waiting_s - before.waiting_s
    own = max(0.0, after.own_s - before.own_s)
    return Evidence(wall, cores, max(0.0, other), steal, waiting, after.frequency_hz, own)


def disturbance(rounds: Sequence[Evidence]) -> Disturbance | Unmeasured:
    """Sum up what happened over rounds, as shares of the measured cores' time."""
    capacity = sum(e.wall_s * e.cores for e in rounds)
    wall = sum(e.wall_s for e in rounds)
    if not capacity:
        return Unmeasured("no round was taken")
    taken = sum(e.other_cpu_s + e.steal_s for e in rounds)
    busy = taken + sum(e.own_cpu_s for e in rounds)
    waits = [e.waiting_s for e in rounds if e.waiting_s is not None]
    clocks = [e.frequency_hz for e in rounds if e.frequency_hz is not None]
    return Disturbance(
        other_cpu_share=sum(e.other_cpu_s for e in rounds) / capacity,
        steal_share=sum(e.steal_s for e in rounds) / capacity,
        crowding=taken / busy if busy else 0.0,
        waiting_share=sum(waits) / wall if waits else Unmeasured("the kernel has no /proc/pressure/cpu"),
        frequency_hz=sum(clocks) / len(clocks) if clocks else Unmeasured("this host does not tell its clock frequency"),
    )


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
        return Snapshot(time.perf_counter(), idle, steal, own, _waiting_s(), _frequency_hz(cores))

    return probe


def wait_quiet(
    pid: int,
    still_s: float = 0.02,
    most_s: float = 1.0,
    clock: Callable[[int], float] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a process has used no CPU for ``still_s``, at most ``most_s``: some pools spin for ever."""
    clock = clock or _cpu_s
    waited, before = 0.0, clock(pid)
    while waited < most_s:
        sleep(still_s)
        waited += still_s
        now = clock(pid)
        if now == before:
            return
        before = now


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


def _waiting_s() -> float | None:
    try:
        first = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    return int(first.rpartition("total=")[2]) / 1e6


def _frequency_hz(cores: Collection[int]) -> float | None:
    values = []
    for core in cores:
        try:
            text = Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").read_text()
        except OSError:
            return None
        values.append(1e3 * int(text))  # kHz
    return sum(values) / len(values) if values else None
