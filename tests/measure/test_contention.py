from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.contention import Evidence, Snapshot, evidence, kernel_probe, wait_quiet

START = Snapshot(wall_s=100.0, idle_s=50.0, steal_s=1.0, own_s=7.0)


def later(wall: float, idle: float, own: float, steal: float = 0.0) -> Snapshot:
    return Snapshot(START.wall_s + wall, START.idle_s + idle, START.steal_s + steal, START.own_s + own)


def test_what_is_neither_idle_nor_ours_nor_stolen_was_used_by_others() -> None:
    found = evidence(START, later(wall=10.0, idle=8.0, own=9.0, steal=0.5), cores=2)
    assert found.other_cpu_s == pytest.approx(2 * 10.0 - 8.0 - 9.0 - 0.5)
    assert found.steal_s == pytest.approx(0.5)
    assert (found.wall_s, found.cores) == (10.0, 2)


def test_a_round_of_our_own_work_is_clean() -> None:
    assert not evidence(START, later(wall=1.0, idle=1.0, own=1.0), cores=2).dirty


def test_more_of_ours_than_was_busy_is_no_negative_share_of_others() -> None:
    found = evidence(START, later(wall=1.0, idle=0.0, own=1.02), cores=1)
    assert found.other_cpu_s == 0.0
    assert not found.dirty


@pytest.mark.parametrize(
    ("other", "steal", "dirty"),
    [(0.0, 0.0, False), (0.09, 0.0, False), (0.11, 0.0, True), (0.0, 0.019, False), (0.0, 0.021, True)],
)
def test_others_may_take_five_percent_of_the_cores_and_the_hypervisor_one(
    other: float, steal: float, dirty: bool
) -> None:
    assert Evidence(wall_s=1.0, cores=2, other_cpu_s=other, steal_s=steal).dirty is dirty


times = st.floats(0.0, 1e3)


@given(st.floats(1e-3, 1e3), times, times, times, st.integers(1, 64))
def test_no_share_is_negative_and_none_exceeds_the_cores(
    wall: float, idle: float, own: float, steal: float, cores: int
) -> None:
    found = evidence(START, later(wall, idle, own, steal), cores)
    assert found.steal_s >= 0
    assert 0 <= found.other_cpu_s <= found.wall_s * cores + 1e-6


@given(st.floats(1e-2, 1e3), times, times)
def test_more_work_of_others_never_makes_a_round_cleaner(wall: float, own: float, more: float) -> None:
    idle = max(0.0, wall - own)
    calm = evidence(START, later(wall, idle, own), cores=1)
    busy = evidence(START, later(wall, max(0.0, idle - more), own), cores=1)
    assert busy.other_cpu_s >= calm.other_cpu_s
    assert busy.dirty >= calm.dirty


def test_a_counter_that_runs_backwards_is_no_steal() -> None:
    assert evidence(START, later(wall=1.0, idle=0.0, own=1.0, steal=-0.5), cores=1).steal_s == 0.0


def test_the_kernels_counters_never_fall() -> None:
    probe = kernel_probe(os.sched_getaffinity(0))
    snapshots = [probe([os.getpid()]) for _ in range(20)]
    for before, after in itertools.pairwise(snapshots):
        assert after.wall_s >= before.wall_s
        assert after.idle_s >= before.idle_s
        assert after.steal_s >= before.steal_s
        assert after.own_s >= before.own_s


def test_this_process_counts_as_ours_only_on_the_watched_cores() -> None:
    assert kernel_probe({10**6})([]).own_s == 0.0
    assert kernel_probe(os.sched_getaffinity(0))([]).own_s > 0.0


def test_a_process_that_has_ended_has_used_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert kernel_probe({10**6})([pid]).own_s == 0.0


def test_a_process_is_waited_for_until_its_clock_stands_still_but_not_for_ever() -> None:
    clock = iter([0.0, 0.5, 0.9, 0.9])
    slept: list[float] = []
    wait_quiet(1, clock=lambda pid: next(clock), sleep=slept.append)
    assert len(slept) == 3
    spinning = iter(float(n) for n in range(1000))
    slept.clear()
    wait_quiet(1, most_s=0.1, clock=lambda pid: next(spinning), sleep=slept.append)
    assert len(slept) == 5
