from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness.measure.memory import SetSizes, growth_per_call, peak_rss_bytes, rss_bytes, set_sizes
from harness.schema import Unmeasured

MB = 10**6
# In a process of its own, because the mark of this one tells what other tests have used.
SCRIPT = """
import json
import numpy as np
from harness.measure.memory import peak_rss_bytes, reset_peak, rss_bytes
reset_peak()
before = peak_rss_bytes()
block = np.ones(64_000_000, dtype=np.uint8)
held = peak_rss_bytes()
del block
freed, kept = rss_bytes(), peak_rss_bytes()
reset_peak()
print(json.dumps({"before": before, "held": held, "freed": freed, "kept": kept, "reset": peak_rss_bytes()}))
"""


def test_the_peak_rises_by_what_is_touched_stays_when_it_is_freed_and_can_be_reset() -> None:
    reply = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    marks = json.loads(reply.stdout)
    assert 63 * MB < marks["held"] - marks["before"] < 70 * MB
    assert abs(marks["kept"] - marks["held"]) < MB  # the kernel counts in batches of pages
    assert marks["held"] - marks["freed"] > 60 * MB
    assert abs(marks["reset"] - marks["freed"]) < 4 * MB


def test_the_peak_is_never_below_the_present() -> None:
    present = rss_bytes()
    assert peak_rss_bytes() >= present - MB > 0


ROLLUP = """5629aa2f1000-7ffc9455b000 ---p 00000000 00:00 0                          [rollup]
Rss:               13540 kB
Pss:                7917 kB
Pss_Dirty:          6880 kB
Shared_Clean:       6660 kB
Private_Clean:        10 kB
Private_Dirty:      6880 kB
Private_Hugetlb:    2048 kB
Locked:                0 kB
"""


def write_rollup(root: Path, text: str) -> Path:
    folder = root / "proc/self"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "smaps_rollup").write_text(text)
    return root


def test_proportional_and_unique_memory_come_from_the_kernels_sums(tmp_path: Path) -> None:
    sizes = set_sizes(write_rollup(tmp_path, ROLLUP))
    assert sizes == SetSizes(7917 * 1024, (10 + 6880 + 2048) * 1024)
    without = "".join(line for line in ROLLUP.splitlines(keepends=True) if "Hugetlb" not in line)
    assert set_sizes(write_rollup(tmp_path, without)) == SetSizes(7917 * 1024, 6890 * 1024)


def test_memory_that_the_kernel_does_not_tell_is_unmeasured_with_its_reason(tmp_path: Path) -> None:
    assert set_sizes(tmp_path) == Unmeasured("/proc/self/smaps_rollup does not exist")
    old = write_rollup(tmp_path, "Rss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\n")
    assert set_sizes(old) == Unmeasured("/proc/self/smaps_rollup has no Pss")


def test_this_process_has_unique_below_proportional_below_resident_memory() -> None:
    sizes = set_sizes()
    assert isinstance(sizes, SetSizes)
    assert 0 < sizes.uss_bytes <= sizes.pss_bytes <= rss_bytes() + MB


class Heap:
    """A process whose unique set is ``held``; the clock stands still unless a call takes time."""

    def __init__(self, steps: list[int], call_s: float = 0.0) -> None:
        self.held, self.time_s = 1000, 0.0
        self._steps, self._call_s = steps, call_s

    def call(self) -> None:
        self.held += self._steps.pop(0) if self._steps else 0
        self.time_s += self._call_s

    def growth(self) -> float | Unmeasured:
        return growth_per_call(self.call, lambda: SetSizes(2 * self.held, self.held), lambda: self.time_s)


def test_a_leak_is_growth_and_what_happens_once_is_not() -> None:
    assert Heap([]).growth() == 0
    assert Heap([64] * 100).growth() == 64
    assert Heap([0, 10**9]).growth() == 0
    assert Heap([64] * 10 + [-(10**9)] + [64] * 20).growth() == 64


def test_growth_of_calls_that_are_too_slow_is_unmeasured() -> None:
    heap = Heap([64] * 100, call_s=1.0)
    growth = heap.growth()
    assert isinstance(growth, Unmeasured)
    assert "20 calls to see growth take longer than 5 s" in growth.reason
    assert heap.time_s <= 6


def test_growth_where_the_kernel_tells_no_memory_is_unmeasured() -> None:
    assert growth_per_call(lambda: None, lambda: Unmeasured("no smaps")) == Unmeasured("no smaps")
