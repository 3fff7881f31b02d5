"""The isolated confirmation, with real processes of the fake backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.header import SuiteSource
from harness.plan import Experiment
from harness.runner import Runner, RunOptions
from harness.store import read_run, read_table
from harness.suite import Measure
from harness.verdicts import run_df
from tests.conftest import fake_trial

POLICY = Measure(replicates=3, max_replicates=3, rounds=7, budget_s=1, block_s=0.002)
EXPERIMENT = Experiment(
    "e", "_fake", (fake_trial(spin_s=0.0005), fake_trial("slow", spin_s=0.0005, slowdown=1.0)), POLICY, 0.01, 0
)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("harness.confirm.PROCESSES", 3)
    monkeypatch.setattr("harness.confirm.TIMED_S", 0.02)
    return RunOptions(tmp_path / "results", tmp_path / "cache")


def test_both_trials_are_timed_alone_and_stand_beside_the_interleaved_times(options: RunOptions) -> None:
    runner = Runner(options)
    directory = runner.run("s", 0, [EXPERIMENT], SuiteSource("suite: s\n", "s.yaml"))
    assert run_df(read_run(directory))["alone_p50_s"].isna().all()

    table = read_table(runner.confirm(directory, EXPERIMENT, ["baseline", "slow"])).to_pandas()
    assert set(zip(table["trial"], table["process"], strict=True)) == {
        (trial, process) for trial in ("baseline", "slow") for process in range(3)
    }
    frame = run_df(read_run(directory)).set_index("trial")
    assert frame.loc["slow", "alone_p50_s"] > frame.loc["baseline", "alone_p50_s"]
    assert frame.loc["slow", "alone_speedup"] == pytest.approx(0.5, rel=0.3)
    assert "alone_p50_s" not in frame.loc["slow", "missing"]


def test_what_is_no_longer_in_the_cache_cannot_be_confirmed(options: RunOptions, tmp_path: Path) -> None:
    runner = Runner(options)
    directory = runner.run("s", 0, [EXPERIMENT], SuiteSource("suite: s\n", "s.yaml"))
    (tmp_path / "cache" / "artifacts").rename(tmp_path / "gone")
    with pytest.raises(UserError, match="no longer in the cache; start a new run"):
        runner.confirm(directory, EXPERIMENT, ["baseline", "slow"])
