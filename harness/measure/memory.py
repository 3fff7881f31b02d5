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

HELD = ("pss_bytes", "uss_bytes", "anonymous_bytes")  # the parts of ``SetSizes``
GROWTH_SEGMENTS = 9
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
    """Bytes of memory that a process holds.

    Attributes:
        pss_bytes: shared pages divided among those who share them.
        uss_bytes: without shared pages; pages of a library are shared while another process has it mapped too.
        anonymous_bytes: pages of no file, such as heap and stacks: the same whatever other processes do.
    """

    pss_bytes: int
    uss_bytes: int
    anonymous_bytes: int


def set_sizes(root: Path = Path("/"), process: str = "self") -> SetSizes | Unmeasured:
    """Return the sizes of a process's memory, or why the kernel does not tell them."""
    text = read_text(root, f"proc/{process}/smaps_rollup")
    if isinstance(text, Unmeasured):
        return text
    kib = {line.split()[0].rstrip(":"): line.split()[1] for line in text.splitlines() if line.endswith(" kB")}
    try:
        own = sum(int(kib[name]) for name in ("Private_Clean", "Private_Dirty")) + int(kib.get("Private_Hugetlb", 0))
        return SetSizes(int(kib["Pss"]) * 1024, own * 1024, int(kib["Anonymous"]) * 1024)
    except KeyError as error:
        return Unmeasured(f"/proc/{process}/smaps_rollup has no {error.args[0]}")


def growth_per_call(
    call: Callable[[], object],
    sizes: Callable[[], SetSizes | Unmeasured] = set_sizes,
    now: Callable[[], float] = time.perf_counter,
) -> float | Unmeasured:
    """Return by how many bytes the anonymous memory grows with each call.

    An allocator's heap goes up and down by 256 KiB and more without any leak. So each mark counts as the least
    that comes after it, and the growth is the median over segments of calls: neither what is given back nor what
    is allocated once moves it. A leak below about 30 kB a call may hide behind the heap. Calls that are too slow
    for ``GROWTH_BUDGET_S`` are not tried.
    """
    began = now()
    call()
    call_s = now() - began
    if GROWTH_SEGMENTS * call_s > GROWTH_BUDGET_S:
        return Unmeasured(f"{GROWTH_SEGMENTS} calls of {call_s:.3g} s to see growth take over {GROWTH_BUDGET_S:g} s")
    fitting = CALLS_PER_SEGMENT if call_s <= 0 else int(GROWTH_BUDGET_S / (GROWTH_SEGMENTS * call_s))
    calls = min(CALLS_PER_SEGMENT, fitting)
    marks = [sizes()]
    for _ in range(GROWTH_SEGMENTS):
        for _ in range(calls):
            call()
        marks.append(sizes())
    held: list[int] = []
    for mark in marks:
        if isinstance(mark, Unmeasured):
            return mark
        held.append(mark.anonymous_bytes)
    kept = list(itertools.accumulate(reversed(held), min))[::-1]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(kept)) / calls


def _status_kib(field: str) -> int:
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
