"""Memory of this process: its peak from the kernel's own high-water mark, its own and its shared part, its growth.

No sampling thread, nothing missed: writing 5 to /proc/self/clear_refs sets VmHWM back to the present VmRSS
(proc(5)). Standard library only.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.host.tree import read_text
from harness.schema import Unmeasured

GROWTH_SEGMENTS = 5
CALLS_PER_SEGMENT = 4
GROWTH_BUDGET_S = 5.0

_PROC = Path("/proc/self")


def peak_rss_bytes() -> int:
    """Return the high-water mark of resident memory since start or the last reset."""
    return _status_kib("VmHWM") * 1024


def rss_bytes() -> int:
    """Return resident memory now."""
    return _status_kib("VmRSS") * 1024


def reset_peak() -> None:
    """Set the high-water mark back to the present; raises OSError where the kernel does not let us."""
    (_PROC / "clear_refs").write_text("5")


@dataclass(frozen=True)
class SetSizes:
    """Bytes of memory: ``pss`` with shared pages divided among those who share them, ``uss`` without shared pages."""

    pss_bytes: int
    uss_bytes: int


def set_sizes(root: Path = Path("/"), process: str = "self") -> SetSizes | Unmeasured:
    """Return the proportional and the unique set size of a process, or why the kernel does not tell them."""
    text = read_text(root, f"proc/{process}/smaps_rollup")
    if isinstance(text, Unmeasured):
        return text
    kib = {line.split()[0].rstrip(":"): line.split()[1] for line in text.splitlines() if line.endswith(" kB")}
    try:
        own = sum(int(kib[name]) for name in ("Private_Clean", "Private_Dirty")) + int(kib.get("Private_Hugetlb", 0))
        return SetSizes(int(kib["Pss"]) * 1024, own * 1024)
    except KeyError as error:
        return Unmeasured(f"/proc/{process}/smaps_rollup has no {error.args[0]}")


def growth_per_call(
    call: Callable[[], object],
    sizes: Callable[[], SetSizes | Unmeasured] = set_sizes,
    now: Callable[[], float] = time.perf_counter,
) -> float | Unmeasured:
    """Return by how many bytes the unique set grows with each call, negative where it shrinks.

    The median over segments of calls: what is allocated once, or freed once, moves one segment and not the
    median. Slow calls are given up after ``GROWTH_BUDGET_S``.
    """
    began, marks = now(), [sizes()]
    for _ in range(GROWTH_SEGMENTS):
        for _ in range(CALLS_PER_SEGMENT):
            if now() - began > GROWTH_BUDGET_S:
                wanted = GROWTH_SEGMENTS * CALLS_PER_SEGMENT
                return Unmeasured(f"{wanted} calls to see growth take longer than {GROWTH_BUDGET_S:g} s")
            call()
        marks.append(sizes())
    own: list[int] = []
    for mark in marks:
        if isinstance(mark, Unmeasured):
            return mark
        own.append(mark.uss_bytes)
    steps = [later - earlier for earlier, later in itertools.pairwise(own)]
    return statistics.median(steps) / CALLS_PER_SEGMENT


def _status_kib(field: str) -> int:
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
