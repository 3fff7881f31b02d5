from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError, HostLockedError, UserError
from harness.events import BusyHost, Event
from harness.launcher import isolation_unavailable, raise_weight
from harness.measure import busy
from harness.measure.busy import Busy, Neighbor, crowded, look, settle
from harness.plan import Experiment
from harness.runner import Runner, RunOptions
from harness.suite import Measure
from tests.conftest import fake_trial

HOG = Neighbor(4711, "stress-ng", 1.0)
QUIET = Busy(2, 0.0, ())
ONE_HOG = Busy(2, 1.0, (HOG,))
FULL = Busy(2, 1.96, (HOG, Neighbor(4712, "stress-ng", 0.96)))


@pytest.mark.parametrize(
    ("seen", "threads", "expected"),
    [
        (QUIET, 1, False),
        (QUIET, 2, False),
        (QUIET, 3, False),  # no more can be free than there are
        (ONE_HOG, 1, False),
        (ONE_HOG, 2, True),
        (FULL, 1, True),
    ],
)
def test_a_host_is_crowded_when_too_few_cores_are_left(seen: Busy, threads: int, expected: bool) -> None:
    assert crowded(seen, threads) is expected


def test_what_passes_is_waited_for_and_what_stays_is_not_waited_out() -> None:
    seen = iter([FULL, FULL, ONE_HOG])
    assert settle(1, looks=5, look_=lambda: next(seen)) == ONE_HOG
    assert settle(1, looks=3, look_=lambda: FULL) == FULL


def test_who_uses_it_is_named_the_busiest_first() -> None:
    assert FULL.describe() == "others use 2.0 of 2 cores (stress-ng pid 4711: 1.0, stress-ng pid 4712: 1.0)"
    assert QUIET.describe() == "others use 0.0 of 2 cores"


def test_a_real_look_gives_numbers_that_can_be() -> None:
    seen = look(0.05)
    assert 0 <= seen.used <= 1.5 * seen.cores
    assert all(n.cores > 0 for n in seen.neighbors)


@pytest.fixture
def experiment() -> Experiment:
    policy = Measure(replicates=1, max_replicates=1, rounds=20, budget_s=1, block_s=0.001)
    return Experiment("e", "_fake", (fake_trial(spin_s=0.0001),), policy, 0.01, 0)


@pytest.fixture
def locked_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def run(experiment: Experiment, folder: Path, neighbors: str) -> list[Event]:
    events: list[Event] = []
    options = RunOptions(folder / "results", folder / "cache", neighbors=neighbors)  # type: ignore[arg-type]
    Runner(options, events.append).run("s", 0, [experiment])
    return events


@pytest.mark.usefixtures("locked_away")
def test_a_crowded_host_is_refused_with_names_and_the_remedy(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runner.settle", lambda threads: FULL)
    with pytest.raises(UserError, match=r"stress-ng pid 4711: 1\.0.*end them, or measure all the same with --force"):
        run(experiment, tmp_path, "refuse")
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("locked_away")
def test_by_force_it_is_measured_and_labeled(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setattr("harness.runner.settle", lambda threads: FULL)
    events = run(experiment, tmp_path, "label")
    assert any(isinstance(e, BusyHost) and "stress-ng" in e.text for e in events)
    [header] = (tmp_path / "results").glob("*/run.json")
    assert json.loads(header.read_text())["neighbors"]["used"] == FULL.used


@pytest.mark.usefixtures("locked_away")
def test_isolation_that_cannot_be_had_is_said(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runner.isolation_unavailable", lambda: "this kernel has no autogroup")
    options = RunOptions(tmp_path / "results", tmp_path / "cache", isolate=True)
    with pytest.raises(UserError, match="--isolate: this kernel has no autogroup"):
        Runner(options).run("s", 0, [experiment])


@pytest.mark.parametrize(("switch", "reason"), [("0", "autogroup is off"), (None, "this kernel has no autogroup")])
def test_isolation_needs_autogroup(tmp_path: Path, switch: str | None, reason: str) -> None:
    if switch is not None:
        path = tmp_path / "proc/sys/kernel/sched_autogroup_enabled"
        path.parent.mkdir(parents=True)
        path.write_text(switch)
    assert reason in (isolation_unavailable(tmp_path) or "")


def test_the_weight_of_a_process_that_is_gone_is_no_error() -> None:
    raise_weight(2**22 + 1)  # above the largest process id


def test_the_module_names_its_errors() -> None:
    assert issubclass(HostLockedError, HarnessError)
    assert busy.LOOKS >= 1
