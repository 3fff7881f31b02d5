"""Runs that are cut short at every stage, by kill -9 of the coordinator or by Ctrl-C, and then finished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import harness
from harness.catalog import catalog
from harness.errors import HostLockedError, UserError
from harness.events import Event, ReplicateDone, ReplicateStarted, Resumed, RoundDone, TrialEnded, TrialExamined
from harness.header import SuiteSource, is_complete, suite_of
from harness.launcher import Launcher, WorkerHandle
from harness.plan import Experiment, plan
from harness.reserve import host_lock
from harness.runner import Runner, RunOptions
from harness.schema import Status, Timing, Trial
from harness.store import JOURNAL_FILE, RECORDS_FILE, RUN_FILE, Run, read_run
from harness.suite import parse_suite

SUITE = """
suite: cut
measure:
  {replicates: 4, max_replicates: 4, rounds: 5, budget_s: 60, block_s: 0.002, stage_timeout_s: 20, utilization_s: 0.05}
experiments:
  - name: e
    model: _fake
    batch_size: 8
    baseline: {name: base, backend: fake}
    variants:
      - {name: bad, backend: fake, options: {fault: nan}}
      - {name: slow, backend: fake, options: {spin_s: 0.0005}}
"""
TRIALS = {"base", "bad", "slow"}
TIMED = {"base", "slow"}
REPLICATES = 4


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not wait for a measurement that runs on this host."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def experiments() -> list[Experiment]:
    return plan(parse_suite(SUITE, "cut.yaml"), catalog())


def runner(folder: Path, on_event: Callable[[Event], None] = lambda _: None, **tools: Any) -> Runner:
    return Runner(RunOptions(folder / "results", folder / "cache"), on_event, **tools)


def start(folder: Path, on_event: Callable[[Event], None]) -> Path:
    return runner(folder, on_event).run("cut", 0, experiments(), SuiteSource(SUITE, "cut.yaml"))


# The moments at which the coordinator is killed: by name, so that a child process finds them.
MOMENTS: dict[str, Callable[[Event], bool]] = {
    "after the first examination": lambda e: isinstance(e, TrialExamined),
    "after the first record": lambda e: isinstance(e, TrialEnded),
    "when the first replicate starts": lambda e: isinstance(e, ReplicateStarted),
    "in the rounds of the second replicate": lambda e: isinstance(e, RoundDone) and e.replicate == 1,
    "after the last replicate": lambda e: isinstance(e, ReplicateDone) and e.replicate == 4,
    "between the records at the end": lambda e: isinstance(e, TrialEnded) and e.record.status is Status.OK,
}


def die_at(moment: str) -> Callable[[Event], None]:
    """Return a handler of events that kills its own process, so that the moment is exact."""

    def on_event(event: Event) -> None:
        if MOMENTS[moment](event):
            os.kill(os.getpid(), signal.SIGKILL)

    return on_event


def killed(folder: Path, moment: str) -> Path:
    """Run in a process of its own that is killed at a moment; returns the run's folder."""
    script = (
        f"import sys, pathlib; sys.path.insert(0, {str(Path.cwd())!r})\n"
        f"from tests.test_resume import start, die_at\nstart(pathlib.Path({str(folder)!r}), die_at({moment!r}))"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.run([sys.executable, "-c", script], env=environment, timeout=120, check=False)
    assert process.returncode == -signal.SIGKILL
    [directory] = (folder / "results").iterdir()
    return directory


def interrupted(folder: Path, condition: Callable[[Event], bool]) -> Path:
    """Run in this process until a KeyboardInterrupt; quicker than ``killed``."""

    def on_event(event: Event) -> None:
        if condition(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(folder, on_event)
    [directory] = (folder / "results").iterdir()
    return directory


def resume(directory: Path, **tools: Any) -> tuple[Counter[tuple[str, str]], list[Event]]:
    """Finish a run; returns how many workers were started by (trial, role), and the events."""
    spawned: Counter[tuple[str, str]] = Counter()
    events: list[Event] = []

    def counting(logs: Path) -> Callable[..., WorkerHandle]:
        launcher = Launcher(logs)

        def spawn(trial: Trial, role: Any) -> WorkerHandle:
            spawned[trial.name, role] += 1
            return launcher(trial, role)

        return spawn

    runner(directory.parent.parent, events.append, spawn=counting, **tools).resume(directory, experiments())
    return spawned, events


def replicate_files(directory: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of each replicate's file."""
    files = (directory / "samples").glob("*/*.parquet")
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def names(run: Run) -> list[str]:
    return [record.trial.name for record in run.records]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_is_finished_and_nothing_is_done_twice(tmp_path: Path, moment: str) -> None:
    directory = killed(tmp_path, moment)
    before, files = read_run(directory), replicate_files(directory)
    text = (directory / RECORDS_FILE).read_bytes() if before.records else b""
    examined = {
        d["record"]["trial"]["name"]
        for line in (directory / JOURNAL_FILE).read_text().splitlines()
        if (d := json.loads(line))["kind"] == "examined"
    }
    assert not is_complete(before)

    spawned, _ = resume(directory)

    after = read_run(directory)
    assert sorted(names(after)) == sorted(TRIALS)
    assert (directory / RECORDS_FILE).read_bytes().startswith(text)
    kept = replicate_files(directory)
    assert {name: kept[name] for name in files} == files
    assert len(kept) == REPLICATES
    missing = REPLICATES - len(files)
    expected: Counter[tuple[str, str]] = Counter()
    for name in TRIALS - set(names(before)):
        expected[name, "build"] = int(name not in examined)
        expected[name, "measure"] = int(name not in examined) + (missing if name in TIMED else 0)
    assert spawned == +expected
    for record in after.records:
        if record.trial.name in TIMED:
            assert isinstance(record.timing, Timing)
            assert len(record.timing.load_s) == record.timing.replicates == REPLICATES
    assert len(after.header["resumed_at"]) == 1
    frame = harness.load(directory).set_index("trial")
    assert frame.loc["slow", "speedup_verdict"] == "slower"
    assert frame.loc["slow", "speedup_units"] == REPLICATES


def test_a_run_that_is_resumed_twice_is_listed_twice_and_still_whole(tmp_path: Path) -> None:
    directory = interrupted(tmp_path, lambda e: isinstance(e, ReplicateDone) and e.replicate == 1)

    def again(event: Event) -> None:
        if isinstance(event, ReplicateDone) and event.replicate == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, again).resume(directory, experiments())
    spawned, events = resume(directory)
    assert spawned == {(name, "measure"): 1 for name in TIMED}
    assert [(e.ended, e.examined, e.replicates) for e in events if isinstance(e, Resumed)] == [
        ({"bad": Status.INVALID}, ("base", "slow"), 3)
    ]
    assert sorted(names(read_run(directory))) == sorted(TRIALS)
    assert len(read_run(directory).header["resumed_at"]) == 2


def test_a_complete_run_is_left_as_it_is(tmp_path: Path) -> None:
    directory = start(tmp_path, lambda _: None)

    def stats() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in directory.rglob("*")}

    before = stats()
    spawned, events = resume(directory)
    assert not spawned
    assert not events
    assert stats() == before


def test_a_trial_that_failed_while_it_was_timed_has_its_record_at_once_and_is_left_out(tmp_path: Path) -> None:
    victims: list[int] = []

    def condition(event: Event) -> bool:
        if isinstance(event, RoundDone) and not victims:
            workers = [c for c in psutil.Process().children() if "measure" in c.cmdline()]
            victims.append(workers[-1].pid)  # trials start in order: the last one is 'slow'
            os.kill(victims[0], signal.SIGKILL)
        return isinstance(event, ReplicateDone)

    directory = interrupted(tmp_path, condition)
    assert names(read_run(directory)) == ["bad", "slow"]
    spawned, _ = resume(directory)
    assert {name for name, _ in spawned} == {"base"}
    after = read_run(directory)
    assert sorted(names(after)) == sorted(TRIALS)
    assert {r.trial.name: r.status for r in after.records}["slow"] is Status.CRASHED


def test_a_lost_artifact_is_built_again_and_its_replicates_are_kept(tmp_path: Path) -> None:
    directory = interrupted(tmp_path, lambda e: isinstance(e, ReplicateDone) and e.replicate == 2)
    files = replicate_files(directory)
    shutil.rmtree(tmp_path / "cache" / "artifacts")
    spawned, _ = resume(directory)
    assert {name for name, role in spawned if role == "build"} == TIMED
    assert spawned["base", "measure"] == 1 + 2
    assert replicate_files(directory).items() >= files.items()
    assert all(r.status is Status.OK for r in read_run(directory).records if r.trial.name in TIMED)


def test_another_artifact_is_never_added_to_the_samples_of_the_first(tmp_path: Path) -> None:
    directory = interrupted(tmp_path, lambda e: isinstance(e, ReplicateDone) and e.replicate == 2)
    journal = directory / JOURNAL_FILE
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "examined" and line["record"]["trial"]["name"] == "slow":
            line["record"]["artifact"]["files"] = {"fake.json": "0" * 64}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    resume(directory)
    found = {r.trial.name: r for r in read_run(directory).records}
    assert found["slow"].status is Status.SKIPPED
    assert "start a new run" in (found["slow"].reason or "")
    assert found["base"].status is Status.OK


MINE = """
import dataclasses
from harness.zoo import load_model

class Times:
    scale = {scale}
    def __call__(self, inputs):
        return inputs * self.scale

def make():
    return dataclasses.replace(load_model("_fake"), build=lambda seed: Times())
"""


def test_a_model_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "mine.py"
    model.write_text(MINE.format(scale=2.0))
    suite = parse_suite(SUITE.replace("_fake", "{python: 'mine.py:make'}"), str(tmp_path / "cut.yaml"))

    def interrupt(event: Event) -> None:
        if isinstance(event, TrialExamined):
            raise KeyboardInterrupt

    planned = plan(suite, catalog())
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, interrupt).run("cut", 0, planned)
    [directory] = (tmp_path / "results").iterdir()
    before = (directory / JOURNAL_FILE).read_text()
    model.write_text(MINE.format(scale=3.0))
    with pytest.raises(UserError, match=r"was changed since the run started.*start a new run"):
        runner(tmp_path).resume(directory, planned)
    assert (directory / JOURNAL_FILE).read_text() == before
    assert not read_run(directory).records
    model.write_text(MINE.format(scale=2.0))
    runner(tmp_path).resume(directory, planned)
    assert is_complete(read_run(directory))


def test_half_written_lines_are_dropped_before_going_on(tmp_path: Path) -> None:
    directory = interrupted(tmp_path, lambda e: isinstance(e, ReplicateStarted))
    for name in (RECORDS_FILE, JOURNAL_FILE):
        with (directory / name).open("ab") as file:
            file.write(b'{"half a line')
    (directory / "samples" / "e").mkdir(parents=True)
    (directory / "samples" / "e" / "group-0-replicate-0.parquet.partial").write_bytes(b"PAR1")
    resume(directory)
    assert sorted(names(read_run(directory))) == sorted(TRIALS)
    assert len(harness.load(directory)) == len(TRIALS)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was cut short early, to be copied."""
    folder = tmp_path_factory.mktemp("cut")
    return killed(folder, "after the first examination")


@pytest.fixture
def copy(cut: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cut, tmp_path / "results" / cut.name))


def edit_header(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((directory / RUN_FILE).read_text())
    edit(header)
    (directory / RUN_FILE).write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda h: h["host"].update(id="other"), r"another host \(.*id other; .*start a new run: harness run cut.yaml"),
        (lambda h: h["versions"].update(numpy="0.1"), r"numpy 0\.1 \(here: .*start a new run: harness run cut.yaml"),
        (lambda h: h["versions"].pop("numpy"), r"numpy not installed \(here: "),
        (lambda h: h["versions"].update(openvino="1.2.3"), r"openvino 1\.2\.3 \(here: "),
        (lambda h: h.update(harness="0.0.1"), r"harness 0\.0\.1 \(here: "),
        (lambda h: h["host"].update(python="2.7"), r"python 2\.7 \(here: "),
        (lambda h: h["experiments"][0]["trials"].remove("slow"), "gives other trials here"),
    ],
)
def test_what_could_not_be_compared_is_refused_with_the_remedy(
    copy: Path, edit: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    edit_header(copy, edit)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=sentence):
        resume(copy)
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


def test_a_run_without_its_suite_cannot_be_resumed(copy: Path) -> None:
    edit_header(copy, lambda h: (h.pop("suite_text"), h.pop("suite_file")))
    with pytest.raises(UserError, match=r"holds no copy of its suite.*start a new run: harness run SUITE"):
        suite_of(read_run(copy))


def test_the_plan_comes_from_the_suite_as_it_was_read(copy: Path) -> None:
    suite = suite_of(read_run(copy))
    assert suite.file == "cut.yaml"
    assert suite.spec == parse_suite(SUITE, "cut.yaml").spec


def test_two_processes_cannot_resume_at_once(copy: Path) -> None:
    with host_lock(), pytest.raises(HostLockedError):
        resume(copy)
