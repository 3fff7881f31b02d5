"""Whole runs of the fake backend through real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import harness
from harness.errors import HostLockedError
from harness.events import Built, Event, ReplicateDone, RoundDone, TrialEnded
from harness.plan import Experiment
from harness.reserve import cores_for, host_lock
from harness.runner import Runner, RunOptions
from harness.schema import Energy, Quality, Record, Status, Timing, Trial, Unmeasured, Utilization
from harness.store import read_run
from harness.suite import Measure
from tests.conftest import fake_trial
from tests.test_launcher import group_members

POLICY = Measure(
    replicates=3,
    max_replicates=3,
    rounds=7,
    budget_s=60,
    block_s=0.005,
    stage_timeout_s=20,
    build_timeout_s=20,
    utilization_s=0.05,
)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not wait for a measurement that runs on this host."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def run(tmp_path: Path, *trials: Trial, on_event: Callable[[Event], None] = lambda _: None, **policy: object) -> Path:
    measure = POLICY.model_copy(update=policy)
    experiment = Experiment("e", "_fake", trials, measure, 0.01, seed=0)
    options = RunOptions(tmp_path / "results", tmp_path / "cache")
    return Runner(options, on_event).run("test", 0, [experiment])


def records(directory: Path) -> dict[str, Record]:
    return {record.trial.name: record for record in read_run(directory).records}


def test_every_trial_ends_in_one_record_with_all_measures(tmp_path: Path) -> None:
    directory = run(tmp_path, fake_trial(spin_s=0.0005), fake_trial("slow", spin_s=0.0005, slowdown=0.5))
    found = records(directory)
    assert set(found) == {"baseline", "slow"}
    for record in found.values():
        assert record.status is Status.OK
        assert isinstance(record.quality, Quality)
        assert record.quality.n == 96
        assert isinstance(record.timing, Timing)
        assert len(record.timing.load_s) == len(record.timing.first_call_s) == 3
        assert (directory / record.timing.samples).is_dir()
        assert isinstance(record.energy, Unmeasured | Energy)
        assert isinstance(record.utilization, Utilization)
        assert record.utilization.calls > 0
    frame = harness.load(directory).set_index("trial")
    assert frame.loc["slow", "speedup"] < 1  # on a busy host the interval is widened, and the verdict may be open
    assert frame.loc["slow", "speedup_verdict"] in ("slower", "inconclusive")
    assert frame.loc["slow", "speedup_low"] <= 1 / 1.5 * 1.02
    assert frame.loc["slow", "speedup_high"] >= 1 / 1.5 * 0.98
    assert frame.loc["slow", "quality_verdict"] in ("kept", "inconclusive")
    assert frame.loc["slow", "quality_change"] == 0.0


def test_a_second_run_builds_and_evaluates_nothing_again(tmp_path: Path) -> None:
    events: list[Event] = []
    run(tmp_path, fake_trial(spin_s=0.0005))
    time.sleep(1.1)  # run folders are named by the second
    directory = run(tmp_path, fake_trial(spin_s=0.0005), on_event=events.append)
    assert [e.cached for e in events if isinstance(e, Built)] == [True]
    quality = records(directory)["baseline"].quality
    assert isinstance(quality, Quality)
    assert quality.cached


def test_each_fault_is_recorded_with_its_status_and_the_others_are_measured(tmp_path: Path) -> None:
    faults = {
        "exception": Status.FAILED,
        "nan": Status.INVALID,
        "wrong": Status.INVALID,
        "crash": Status.CRASHED,
        "crash-build": Status.CRASHED,
        "oom": Status.OOM,
        "unsupported": Status.UNSUPPORTED,
    }
    trials = [fake_trial(), *(fake_trial(f, fault=f) for f in faults), fake_trial("fine", spin_s=0.001)]
    directory = run(tmp_path, *trials)
    found = records(directory)
    assert {name: found[name].status for name in faults} == faults
    assert found["fine"].status is found["baseline"].status is Status.OK
    for name in faults:
        record = found[name]
        assert record.reason
        assert record.stage
        assert record.log is not None
        assert (directory / record.log).is_file()
        assert isinstance(record.timing, Unmeasured)
        assert str(record.status) in record.timing.reason


def test_a_hang_is_killed_and_recorded(tmp_path: Path) -> None:
    directory = run(tmp_path, fake_trial(), fake_trial("hang", fault="hang"), stage_timeout_s=2.0)
    assert records(directory)["hang"].status is Status.TIMEOUT
    assert records(directory)["baseline"].status is Status.OK


def test_without_a_baseline_nothing_is_timed_and_the_reason_is_said(tmp_path: Path) -> None:
    found = records(run(tmp_path, fake_trial(fault="exception"), fake_trial("a")))
    assert found["baseline"].status is Status.FAILED
    assert found["a"].status is Status.SKIPPED
    assert "baseline" in (found["a"].reason or "")


def test_a_measure_worker_killed_in_the_middle_is_crashed_and_the_others_finish(tmp_path: Path) -> None:
    victim: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, RoundDone) and event.replicate == 1 and not victim:
            children = psutil.Process().children()
            workers = [c for c in children if "--role" in c.cmdline() and "measure" in c.cmdline()]
            victim.append(workers[-1].pid)  # trials start in order: the last one is 'b'
            os.kill(victim[0], signal.SIGKILL)

    directory = run(tmp_path, fake_trial(), fake_trial("a"), fake_trial("b"), on_event=kill)
    found = records(directory)
    assert found["b"].status is Status.CRASHED
    assert found["b"].reason == "killed by SIGKILL"
    assert found["a"].status is found["baseline"].status is Status.OK


def test_kill_9_of_the_coordinator_keeps_finished_records_and_leaves_no_process(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path.cwd())!r})
import tempfile
tempfile.tempdir = {str(tmp_path)!r}
from tests.test_runner import POLICY, fake_trial, Experiment, Runner, RunOptions
def trials(name, *more):
    return tuple(fake_trial(n, name, spin_s=0.0005) for n in ("baseline", *more))
first = Experiment("first", "_fake", trials("first", "a"), POLICY, 0.01, 0)
endless = POLICY.model_copy(update={{"rounds": 5000}})
second = Experiment("second", "_fake", trials("second", "a", "b"), endless, 0.01, 0)
def show(event):
    print(type(event).__name__, getattr(event, "experiment", ""), flush=True)
options = RunOptions(Path({str(tmp_path)!r}) / "results", Path({str(tmp_path)!r}) / "cache")
Runner(options, show).run("t", 0, [first, second])
"""
    coordinator = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    for line in coordinator.stdout:
        if line.split() == ["RoundDone", "second"]:
            break
    groups = [child.pid for child in psutil.Process(coordinator.pid).children()]
    assert groups
    coordinator.kill()
    coordinator.wait()
    deadline = time.monotonic() + 20
    while any(group_members(g) for g in groups) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(group_members(g) for g in groups)
    [directory] = (tmp_path / "results").iterdir()
    found = read_run(directory).records
    assert {(r.trial.experiment, r.trial.name, str(r.status)) for r in found} == {
        ("first", "baseline", "ok"),
        ("first", "a", "ok"),
    }
    assert len(harness.load(directory)) == 2


def test_ctrl_c_ends_all_workers_and_keeps_finished_replicates(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, ReplicateDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fake_trial(), fake_trial("a"), fake_trial("bad", fault="nan"), on_event=interrupt)
    assert not [c for c in psutil.Process().children() if "harness.worker" in c.cmdline()]
    [directory] = (tmp_path / "results").iterdir()
    assert set(records(directory)) == {"bad"}
    assert list((directory / "samples" / "e").glob("*.parquet"))


def test_a_damaged_artifact_in_the_cache_is_built_anew(tmp_path: Path) -> None:
    run(tmp_path, fake_trial(spin_s=0.0005))
    [file] = (tmp_path / "cache" / "artifacts").glob("*/fake.json")
    file.write_text(json.dumps({"options": {"spin_s": 0.1}, "scale": 2.0}))
    time.sleep(1.1)
    events: list[Event] = []
    directory = run(tmp_path, fake_trial(spin_s=0.0005), on_event=events.append)
    assert [e.cached for e in events if isinstance(e, Built)] == [False]
    assert records(directory)["baseline"].status is Status.OK


def test_trials_that_the_plan_calls_unsupported_are_recorded_first(tmp_path: Path) -> None:
    import dataclasses

    missing = dataclasses.replace(fake_trial("x"), unsupported="openvino not installed")
    events: list[Event] = []
    directory = run(tmp_path, fake_trial(), missing, on_event=events.append)
    assert records(directory)["x"].reason == "openvino not installed"
    assert next(e for e in events if isinstance(e, TrialEnded)).record.trial.name == "x"


def test_two_measurements_at_once_are_refused_with_the_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with host_lock(lock), pytest.raises(HostLockedError, match=f"pid {os.getpid()}"), host_lock(lock):
        pass
    with host_lock(lock):
        pass


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        "import time; from pathlib import Path; from harness.reserve import host_lock;"
        f"lock = host_lock(Path({str(lock)!r})); lock.__enter__();"
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(HostLockedError), host_lock(lock):
        pass
    holder.kill()
    holder.wait()
    with host_lock(lock):
        pass


def test_workers_share_the_same_cores_unless_they_need_all() -> None:
    cores = len(os.sched_getaffinity(0))
    assert cores_for(cores) == frozenset()
    if cores > 1:
        assert len(cores_for(1)) == 1
