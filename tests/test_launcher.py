"""Real child processes: started, stopped, killed, hung and crashed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from harness.launcher import Launcher, WorkerFailure, WorkerProcess, log_name
from harness.schema import Status
from tests.conftest import fake_trial

TIMEOUT_S = 30.0


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(tmp_path / "logs")


@pytest.fixture
def worker(launcher: Launcher) -> Iterator[WorkerProcess]:
    process = launcher(fake_trial(), "measure")
    yield process
    process.close()


def test_a_paused_worker_is_stopped_and_answers_again_when_resumed(worker: WorkerProcess) -> None:
    start(worker)
    worker.pause()
    assert psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED
    worker.resume()
    assert start(worker)["floor_bytes"] > 0
    worker.pause()  # a second stop is waited for, not taken from the first
    assert psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED


def test_an_error_in_the_worker_is_its_reason_and_the_traceback_is_in_the_log(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerFailure) as caught:
        worker.call("load", TIMEOUT_S, cores=[])
    assert caught.value.status is Status.FAILED
    assert "send 'start' first" in caught.value.reason
    assert "Traceback" in worker.log.read_text()


def test_a_killed_worker_is_crashed_with_the_signal(worker: WorkerProcess) -> None:
    start(worker)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailure) as caught:
        start(worker)
    assert caught.value.status is Status.CRASHED
    assert caught.value.reason == "killed by SIGKILL"


def test_a_worker_killed_while_stopped_is_noticed(worker: WorkerProcess) -> None:
    start(worker)
    worker.pause()
    os.kill(worker.pid, signal.SIGKILL)
    worker.resume()
    with pytest.raises(WorkerFailure) as caught:
        start(worker)
    assert caught.value.status is Status.CRASHED


def test_pausing_a_dead_worker_fails_instead_of_waiting(worker: WorkerProcess) -> None:
    start(worker)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailure) as caught:
        worker.pause()
    assert caught.value.reason == "killed by SIGKILL"


def test_a_worker_that_does_not_answer_is_killed(worker: WorkerProcess) -> None:
    start(worker)
    worker.pause()  # a stopped worker cannot answer
    with pytest.raises(WorkerFailure) as caught:
        worker.call("first", 0.05)
    assert caught.value.status is Status.TIMEOUT
    assert not psutil.pid_exists(worker.pid)


def test_an_interpreter_that_does_not_exist_is_a_failure_of_the_trial(launcher: Launcher) -> None:
    trial = fake_trial()
    with pytest.raises(WorkerFailure, match="cannot start /nowhere/python"):
        launcher(type(trial)(**{**asdict(trial), "passes": (), "interpreter": "/nowhere/python"}), "measure")


def test_another_interpreter_runs_the_worker_without_the_harness_installed(launcher: Launcher, tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    trial = fake_trial()
    process = launcher(type(trial)(**{**asdict(trial), "passes": (), "interpreter": str(wrapper)}), "measure")
    try:
        assert start(process)["floor_bytes"] > 0
    finally:
        process.close()


@pytest.mark.parametrize("role", ["build", "measure"])
def test_no_worker_survives_its_coordinator(tmp_path: Path, role: str) -> None:
    script = (
        "import sys, time; from pathlib import Path; from harness.launcher import Launcher;"
        "from tests.conftest import fake_trial; from dataclasses import asdict;"
        f"w = Launcher(Path({str(tmp_path)!r}))(fake_trial(), {role!r});"
        "w.call('start', 30, trial=asdict(fake_trial()), directory='.', test_data='.');"
        f"{'w.pause();' if role == 'measure' else ''}"
        "print(w.pid, flush=True); time.sleep(60)"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert coordinator.stdout is not None
    group = int(coordinator.stdout.readline())
    assert group_members(group)
    coordinator.kill()
    coordinator.wait()
    deadline = time.monotonic() + 20
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not group_members(group)


def start(worker: WorkerProcess) -> dict[str, object]:
    return worker.call("start", TIMEOUT_S, trial=asdict(fake_trial()), directory=".", test_data=".")


def group_members(group: int) -> list[int]:
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def test_no_two_trials_share_a_log() -> None:
    pairs = [("a.b", "c"), ("a", "b.c"), ("a", "b"), ("a", "b.build")]
    logs = {
        log_name(fake_trial(trial, experiment), role) for experiment, trial in pairs for role in ("build", "measure")
    }
    assert len(logs) == 2 * len(pairs)
