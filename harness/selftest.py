"""Can this host be trusted? Known slow-downs and known faults through the real coordinator and real processes.

Four experiments of the fake backend. In ``spin`` a call lasts an exact time, so the slow-downs are known to
the microsecond, and faults of every kind are mixed in: each must be found and must not touch its neighbors. In
``work`` a call does a fixed amount of arithmetic, so a disturbed host shows: A/A pairs must not be called
different, and slow-downs must still be seen. In ``memory`` calls allocate a known size, or keep it for ever. In
``neighbor``, a run of its own, another process burns the measured cores: the record must say so, and the interval
must still hold the truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness import units
from harness.events import Event
from harness.plan import Experiment
from harness.reserve import cores_for
from harness.runner import Runner, RunOptions
from harness.schema import Status, Trial
from harness.suite import Measure
from harness.verdicts import load

SPIN_S = 0.001
WORK = 20_000  # iterations, about a millisecond
SLOWDOWNS = (0.02, 0.05, 0.20)
AA_PAIRS = 4
MARGIN = 0.01
# A call costs a few microseconds beside its spin, and one in twenty 95 % intervals misses by chance.
TOLERANCE = 0.004
FAULTS = {
    "exception": Status.FAILED,
    "hang": Status.TIMEOUT,
    "nan": Status.INVALID,
    "wrong": Status.INVALID,
    "crash": Status.CRASHED,
    "oom": Status.OOM,
    "unsupported": Status.UNSUPPORTED,
    "threads": Status.INVALID,
}
POLICY = Measure(
    replicates=5, max_replicates=7, rounds=20, budget_s=45, precision=0.005, margin=MARGIN, block_s=0.03,
    stage_timeout_s=4, build_timeout_s=30, utilization_s=0.05,
)  # fmt: skip
# Memory is seen in the examination; the rounds are as few as a suite may have.
MEMORY_POLICY = Measure(
    replicates=1, max_replicates=1, rounds=20, budget_s=20, block_s=0.002, stage_timeout_s=10, build_timeout_s=30,
    utilization_s=0.05,
)  # fmt: skip
NEIGHBOR_POLICY = Measure(
    replicates=3, max_replicates=3, rounds=7, budget_s=20, block_s=0.03, stage_timeout_s=10, build_timeout_s=30,
    utilization_s=0.05,
)  # fmt: skip
NEIGHBOR_SHARE = 0.2  # of the measured core; a fair scheduler gives the neighbor a half
ALLOCATED, LEAKED = 100_000_000, 262_144  # bytes a call
MEMORY_TOLERANCE = 0.05
# About 250 calls: past examination and calibration, in the middle of the rounds.
LATE = 250


@dataclass(frozen=True)
class Check:
    """One thing that had to be found, what was seen, and whether it was right."""

    name: str
    expected: str
    seen: str
    passed: bool


def selftest(
    directory: Path,
    on_event: Callable[[Event], None] = lambda _: None,
    run: Callable[..., Path] | None = None,
) -> list[Check]:
    """Run the selftest in ``directory`` (results and cache) and return all checks.

    Takes one and a half minutes. Raises HostLockedError when another measurement runs on this host.
    """
    runner = Runner(RunOptions(directory / "results", directory / "cache"), on_event)
    take = run or runner.run
    frame = load(take("selftest", 0, experiments()))
    with _busy_cores():
        crowded = load(take("neighbor", 0, [neighbor()]))
    checks = [*_speed_checks(frame), *_pair_checks(frame), *_fault_checks(frame), *_memory_checks(frame)]
    return [*checks, _neighbor_check(crowded)]


@contextmanager
def _busy_cores() -> Iterator[None]:
    """Keep a process busy on each core that is measured; the kernel ends them with this process."""
    code = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.sched_setaffinity(0, {int(sys.argv[1])})\n"
        "while True: pass"
    )
    cores = sorted(cores_for(1) or os.sched_getaffinity(0))
    hogs = [subprocess.Popen([sys.executable, "-c", code, str(core)]) for core in cores]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def neighbor() -> Experiment:
    """Return the experiment that a busy neighbor disturbs: calls of one and of four times a fixed amount of work."""
    trials = (_trial("neighbor", "baseline", work=WORK), _trial("neighbor", "slower-300%", work=WORK, slowdown=3.0))
    return Experiment("neighbor", "_fake", trials, NEIGHBOR_POLICY, 0.01, seed=0)


def _neighbor_check(frame: pd.DataFrame) -> Check:
    row, name = _row(frame, "neighbor", "slower-300%"), "neighbor: a busy core"
    expected = f"said, and {1 / 4:.4f}× within the interval"
    if row is None or row["status"] != Status.OK or pd.isna(row["speedup"]):
        return Check(name, expected, _ending(row), passed=False)
    said = float(row["other_cpu_share"]) > NEIGHBOR_SHARE and not bool(row["speedup_clean"])
    inside = row["speedup_low"] <= 1 / 4 <= row["speedup_high"]
    seen = (
        f"others used {units.percent(float(row['other_cpu_share']), 0)}, {row['speedup']:.4f}× "
        f"[{row['speedup_low']:.4f}, {row['speedup_high']:.4f}]"
    )
    return Check(name, expected, seen, passed=bool(said and inside))


def experiments() -> list[Experiment]:
    """Return the three experiments."""
    spin = [_trial("spin", "baseline", spin_s=SPIN_S)]
    spin += [_trial("spin", f"slower-{s:.0%}", spin_s=SPIN_S, slowdown=s) for s in SLOWDOWNS]
    spin += [_trial("spin", fault, spin_s=SPIN_S, fault=fault) for fault in FAULTS]
    spin += [_trial("spin", "late-crash", spin_s=SPIN_S, fault="crash", fault_after=LATE)]
    work = [_trial("work", "baseline", work=WORK)]
    work += [_trial("work", f"same-{i + 1}", work=WORK) for i in range(AA_PAIRS)]
    work += [_trial("work", f"slower-{s:.0%}", work=WORK, slowdown=s) for s in SLOWDOWNS[1:]]
    memory = [_trial("memory", "baseline", spin_s=SPIN_S)]
    memory += [_trial("memory", "allocates", spin_s=SPIN_S, allocate_bytes=ALLOCATED)]
    memory += [_trial("memory", "leaks", spin_s=SPIN_S, leak_bytes=LEAKED)]
    policies = (("spin", spin, POLICY), ("work", work, POLICY), ("memory", memory, MEMORY_POLICY))
    return [Experiment(name, "_fake", tuple(trials), policy, 0.01, seed=0) for name, trials, policy in policies]


def _trial(experiment: str, name: str, **options: Any) -> Trial:
    return Trial(
        name=name,
        experiment=experiment,
        model="_fake",
        backend="fake",
        options=options,
        role="baseline" if name == "baseline" else "variant",
        batch_size=8,
    )


def _row(frame: pd.DataFrame, experiment: str, trial: str) -> pd.Series[Any] | None:
    rows = frame[(frame["experiment"] == experiment) & (frame["trial"] == trial)]
    return None if rows.empty else rows.iloc[0]


def _speed_checks(frame: pd.DataFrame) -> list[Check]:
    wanted = [("spin", s) for s in SLOWDOWNS] + [("work", s) for s in SLOWDOWNS[1:]]
    return [_speed_check(frame, experiment, slowdown) for experiment, slowdown in wanted]


def _speed_check(frame: pd.DataFrame, experiment: str, slowdown: float) -> Check:
    truth = 1 / (1 + slowdown)
    row = _row(frame, experiment, f"slower-{slowdown:.0%}")
    name, expected = f"{experiment}: {slowdown:.0%} slower", f"slower, {truth:.4f}×"
    if row is None or row["status"] != Status.OK:
        return Check(name, expected, _ending(row), passed=False)
    inside = row["speedup_low"] * (1 - TOLERANCE) <= truth <= row["speedup_high"] * (1 + TOLERANCE)
    # The right sign and the right size: the whole interval below 1, and the truth within it.
    return Check(name, expected, _interval(row), passed=bool(inside and row["speedup_high"] < 1))


def _pair_checks(frame: pd.DataFrame) -> list[Check]:
    checks = []
    for i in range(AA_PAIRS):
        row = _row(frame, "work", f"same-{i + 1}")
        name = f"work: A/A pair {i + 1}"
        if row is None or row["status"] != Status.OK:
            checks.append(Check(name, "not called different", _ending(row), passed=False))
            continue
        same = row["speedup_verdict"] in ("same", "inconclusive")
        checks.append(Check(name, "not called different", _interval(row), passed=same))
    return checks


def _fault_checks(frame: pd.DataFrame) -> list[Check]:
    checks = []
    for fault, status in {**FAULTS, "late-crash": Status.CRASHED}.items():
        row = _row(frame, "spin", fault)
        passed = row is not None and row["status"] == status
        checks.append(Check(f"fault: {fault}", str(status), _ending(row), passed=passed))
    return checks


def _memory_checks(frame: pd.DataFrame) -> list[Check]:
    return [
        _size_check(frame, "allocates", "inference_over_floor_bytes", ALLOCATED, "allocation"),
        _size_check(frame, "leaks", "growth_bytes_per_call", LEAKED, "leak a call"),
        _no_leak_check(frame),
    ]


def _size_check(frame: pd.DataFrame, trial: str, column: str, truth: int, name: str) -> Check:
    row = _row(frame, "memory", trial)
    expected = f"{units.size(truth)} ±{units.percent(MEMORY_TOLERANCE, 0)}"
    if row is None or pd.isna(row[column]):
        return Check(f"memory: {name}", expected, _ending(row), passed=False)
    close = abs(float(row[column]) - truth) <= MEMORY_TOLERANCE * truth
    return Check(f"memory: {name}", expected, units.size(float(row[column])), passed=close)


def _no_leak_check(frame: pd.DataFrame) -> Check:
    row, name = _row(frame, "memory", "baseline"), "memory: no leak"
    if row is None or pd.isna(row["growth_bytes_per_call"]):
        return Check(name, "not called a leak", _ending(row), passed=False)
    seen = f"{units.size(float(row['growth_bytes_per_call']))} a call"
    return Check(name, "not called a leak", seen, passed=bool(pd.isna(row["leak_note"])))


def _interval(row: pd.Series[Any]) -> str:
    half = 50 * (row["speedup_high"] - row["speedup_low"]) / row["speedup"]
    return f"{row['speedup_verdict']}, {row['speedup']:.4f}× ±{units.percent(half / 100, 2)}"


def _ending(row: pd.Series[Any] | None) -> str:
    return "no record" if row is None else f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])
