"""LoadGen tests of whole runs of the fake backend, through real processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.events import Event, ReplicateDone, StageStarted, TrialEnded
from harness.plan import Experiment
from harness.runner import Runner, RunOptions
from harness.schema import Record, Scenario, Status, Timing, Trial, Unmeasured
from harness.store import read_run
from harness.suite import Load
from tests.conftest import fake_trial
from tests.test_runner import POLICY

pytest.importorskip("mlperf_loadgen")

SHORT = Load(min_duration_s=0.3)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not wait for a measurement that runs on this host."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def run(tmp_path: Path, load: Load | None, *trials: Trial, events: list[Event] | None = None) -> Path:
    experiment = Experiment("e", "_fake", trials, POLICY, 0.01, seed=0, load=load)
    heard = [] if events is None else events
    options = RunOptions(tmp_path / "results", tmp_path / "cache")
    return Runner(options, heard.append).run("test", 0, [experiment])


def stream(name: str, **options: object) -> Trial:
    return replace(fake_trial(name, **options), workload="single-stream", batch_size=1)


def records(directory: Path) -> dict[str, Record]:
    return {record.trial.name: record for record in read_run(directory).records}


def test_each_trial_is_tested_alone_after_the_rounds_and_its_logs_are_kept(tmp_path: Path) -> None:
    events: list[Event] = []
    trials = [stream("baseline", spin_s=0.001), stream("slow", spin_s=0.003), stream("broken", fault="exception")]
    directory = run(tmp_path, SHORT, *trials, events=events)
    found = records(directory)
    for name in ("baseline", "slow"):
        scenario = found[name].scenario
        assert isinstance(scenario, Scenario)
        assert (scenario.name, scenario.valid, scenario.metric) == ("single-stream", True, "latency_s")
        assert scenario.log == f"loadgen/e/{name}"
        for log in ("mlperf_log_summary.txt", "mlperf_log_detail.txt"):
            assert (directory / scenario.log / log).stat().st_size
        assert isinstance(found[name].timing, Timing)
    assert found["slow"].scenario.value > found["baseline"].scenario.value  # type: ignore[union-attr]
    assert found["broken"].scenario == Unmeasured("the trial ended as failed in stage 'first'")
    order = [e for e in events if isinstance(e, (ReplicateDone, TrialEnded)) or _loads(e)]
    kinds = [type(e).__name__ + (e.trial if isinstance(e, StageStarted) else "") for e in order]
    first = kinds.index("StageStartedbaseline")
    assert "ReplicateDone" not in kinds[first:]
    assert kinds.index("StageStartedslow") > first
    assert "TrialEnded" in kinds[first : kinds.index("StageStartedslow")]  # its record is there before the next test

    frame = harness.load(directory).set_index("trial")
    assert frame.loc["slow", "scenario_metric"] == "latency_s"
    assert frame.loc["slow", "scenario_valid"]
    assert frame.loc["slow", "scenario_value"] > frame.loc["slow", "scenario_floor"]
    assert "scenario_bound_s" in frame.loc["slow", "missing"]
    assert "failed" in frame.loc["broken", "missing"]["scenario_valid"]


def _loads(event: Event) -> bool:
    return isinstance(event, StageStarted) and event.stage == "loadgen" and not event.detail


def test_without_a_load_block_there_is_no_test_and_the_record_says_so(tmp_path: Path) -> None:
    directory = run(tmp_path, None, stream("baseline", spin_s=0.001))
    assert records(directory)["baseline"].scenario == Unmeasured("no load test was asked for")
    assert not (directory / "loadgen").exists()


@pytest.mark.parametrize("fault", ["exception", "crash"])
def test_a_model_that_fails_under_load_keeps_what_was_measured_and_has_the_reason(tmp_path: Path, fault: str) -> None:
    trial = stream("falls", spin_s=0.0001, fault=fault, fault_after=3000)
    policy = POLICY.model_copy(update={"replicates": 1, "max_replicates": 1, "rounds": 20, "block_s": 0.001})
    experiment = Experiment(
        "e", "_fake", (stream("baseline", spin_s=0.001), trial), policy, 0.01, seed=0, load=Load(min_duration_s=2)
    )
    directory = Runner(RunOptions(tmp_path / "results", tmp_path / "cache")).run("test", 0, [experiment])
    record = records(directory)["falls"]
    assert record.status is Status.OK
    assert isinstance(record.timing, Timing)
    assert isinstance(record.scenario, Unmeasured)
    assert "in 'loadgen'" in record.scenario.reason
    expected = {"exception": "the fake model raises on purpose", "crash": "killed by SIGSEGV"}[fault]
    assert expected in record.scenario.reason
    assert "logs/e/falls.measure.log" in record.scenario.reason


def test_a_server_whose_call_is_over_the_bound_says_so(tmp_path: Path) -> None:
    trial = replace(stream("baseline", spin_s=0.003), workload="server")
    directory = run(tmp_path, Load(latency_bound_s=0.001), trial)
    scenario = records(directory)["baseline"].scenario
    assert isinstance(scenario, Unmeasured)
    assert "so no rate holds the bound of 0.001 s" in scenario.reason
