from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from harness.schema import Status
from harness.verdicts import summary
from tests.run_folder import BASELINE, INT8, PLAIN, ROUNDS, Folder, Row

CAST = replace(BASELINE, name="torch-cast", role="variant", passes=INT8.passes)


def load(folder: Folder, tmp_path: Path) -> pd.DataFrame:
    return harness.load(folder.write(tmp_path / "run")).set_index("trial", drop=False)


def test_a_speedup_is_the_baselines_time_over_the_variants_with_its_interval(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)]), tmp_path).loc["ort"]
    assert row["speedup"] == pytest.approx(2.0, rel=0.005)
    assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
    assert row["speedup_high"] / row["speedup_low"] < 1.01
    assert (row["speedup_units"], row["speedup_rounds"], row["speedup_scope"]) == (3, 3 * ROUNDS, "host")


@pytest.mark.parametrize(("ms", "verdict"), [(1.0, "faster"), (4.0, "slower"), (2.005, "same")])
def test_the_verdict_follows_the_interval(tmp_path: Path, ms: float, verdict: str) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, ms)]), tmp_path).loc["ort"]
    assert row["speedup_verdict"] == verdict
    assert row["speedup_reason"] == ""


def test_an_interval_across_the_margin_is_inconclusive_with_the_reason(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 2.0 / 1.02)]), tmp_path).loc["ort"]
    assert row["speedup_verdict"] == "inconclusive"
    assert "crosses the margin of 2.0 %" in row["speedup_reason"]


def test_the_margin_is_the_experiments_own(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.9)], margin=0.1), tmp_path).loc["ort"]
    assert (row["speedup_verdict"], row["margin"]) == ("same", 0.1)


def test_a_technique_is_judged_over_its_own_backends_plain_row(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 4.0), Row(PLAIN, 2.0), Row(INT8, 1.0), Row(CAST, 3.0)]), tmp_path)
    assert frame.loc["ort-int8", "speedup"] == pytest.approx(4.0, rel=0.005)
    assert frame.loc["ort-int8", "technique_speedup"] == pytest.approx(2.0, rel=0.005)
    assert frame.loc["ort-int8", "technique_speedup_verdict"] == "faster"
    # The baseline is the plain row of its own backend.
    assert frame.loc["torch-cast", "technique_speedup"] == pytest.approx(4 / 3, rel=0.005)


def test_a_repeat_of_the_baseline_that_failed_does_not_stand_in_for_it(tmp_path: Path) -> None:
    failed = [(replace(BASELINE, name="again", role="plain"), Status.CRASHED, "broke")]  # written before all others
    frame = load(Folder([Row(BASELINE, 4.0), Row(CAST, 2.0)], failed), tmp_path)
    assert frame.loc["torch-cast", "technique_speedup"] == pytest.approx(2.0, rel=0.005)


def test_a_row_with_options_is_no_plain_row_where_there_is_one_without(tmp_path: Path) -> None:
    tuned = replace(PLAIN, name="tuned", options={"graph_optimization": "basic"})
    frame = load(Folder([Row(BASELINE, 4.0), Row(tuned, 3.0), Row(PLAIN, 2.0), Row(INT8, 1.0)]), tmp_path)
    assert frame.loc["ort-int8", "technique_speedup"] == pytest.approx(2.0, rel=0.005)
    assert frame.loc["tuned", "technique_speedup"] == pytest.approx(2 / 3, rel=0.005)
    assert pd.isna(frame.loc["ort", "technique_speedup"])


def test_a_plain_row_of_other_threads_is_not_a_techniques_plain_row(tmp_path: Path) -> None:
    other = replace(PLAIN, threads=2)
    row = load(Folder([Row(BASELINE, 4.0), Row(other, 2.0), Row(INT8, 1.0)]), tmp_path).loc["ort-int8"]
    assert pd.isna(row["technique_speedup"])
    assert row["missing"]["technique_speedup"] == "the row to compare with was not measured"


def test_the_row_that_others_are_compared_with_has_no_verdict(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)]), tmp_path)
    for trial, column in (("torch", "speedup"), ("torch", "technique_speedup"), ("ort", "technique_speedup")):
        assert pd.isna(frame.loc[trial, column])
        assert pd.isna(frame.loc[trial, f"{column}_verdict"])
        assert frame.loc[trial, "missing"][column] == "this is the row that others are compared with"
    assert pd.isna(frame.loc["torch", "quality_change"])


def test_a_group_is_compared_with_the_baseline_of_its_own_group(tmp_path: Path) -> None:
    folder = Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(INT8, 1.0, group=1)], baseline_of_group={1: 3.0})
    frame = load(folder, tmp_path)
    assert frame.loc["ort", "speedup"] == pytest.approx(2.0, rel=0.005)
    assert frame.loc["ort-int8", "speedup"] == pytest.approx(3.0, rel=0.005)
    # Its plain row did not run beside it, so the technique cannot be told from the engine.
    assert pd.isna(frame.loc["ort-int8", "technique_speedup"])
    assert frame.loc["ort-int8", "missing"]["technique_speedup"]


def test_disturbed_rounds_are_left_out_when_enough_are_clean(tmp_path: Path) -> None:
    dirty = {(replicate, round_) for replicate in range(3) for round_ in range(ROUNDS - 3)}
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0, dirty_ms=4.0)], dirty=dirty), tmp_path).loc["ort"]
    assert row["speedup_clean"]
    assert row["speedup"] == pytest.approx(2.0, rel=0.005)
    assert row["speedup_rounds"] == 9
    assert row["speedup_all"] == pytest.approx(0.5, rel=0.005)


def test_disturbed_rounds_are_kept_when_one_replicate_has_too_few_clean_ones(tmp_path: Path) -> None:
    dirty = {(0, round_) for round_ in range(ROUNDS - 2)}
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0, dirty_ms=4.0)], dirty=dirty), tmp_path).loc["ort"]
    assert not row["speedup_clean"]
    assert row["speedup_rounds"] == 3 * ROUNDS
    assert row["speedup"] == row["speedup_all"]


def test_a_single_replicate_speaks_of_these_processes_only(tmp_path: Path) -> None:
    folder = Folder([Row(BASELINE, 2.0), Row(PLAIN, 2.0)], replicates=1, rounds=20)
    row = load(folder, tmp_path).loc["ort"]
    assert (row["speedup_scope"], row["speedup_verdict"]) == ("process", "inconclusive")


def test_too_few_rounds_give_no_estimate_but_a_reason(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)], replicates=1), tmp_path).loc["ort"]
    assert pd.isna(row["speedup"])
    assert row["missing"]["speedup"] == f"needs 3 replicates or 16 rounds, has 1 and {ROUNDS}"


def test_a_failed_trial_has_no_speedup_and_the_reason_why(tmp_path: Path) -> None:
    failed = [(INT8, Status.CRASHED, "killed by SIGSEGV")]
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)], failed), tmp_path).loc["ort-int8"]
    for column in ("speedup", "technique_speedup"):
        assert pd.isna(row[column])
        assert row["missing"][column] == "it crashed"


def test_without_a_measured_baseline_nothing_is_compared(tmp_path: Path) -> None:
    frame = load(Folder([Row(PLAIN, 1.0), Row(INT8, 0.5)], [(BASELINE, Status.FAILED, "broke")]), tmp_path)
    assert frame["speedup"].isna().all()
    assert frame.loc["ort", "missing"]["speedup"] == "the row to compare with was not measured"
    assert frame.loc["ort", "missing"]["quality_change"] == "the baseline's quality was not measured"
    assert frame.loc["ort-int8", "technique_speedup"] == pytest.approx(2.0, rel=0.005)


RIGHT = [1.0] * 900 + [0.0] * 100


@pytest.mark.parametrize(
    ("scores", "change", "verdict"),
    [
        (RIGHT, 0.0, "kept"),
        ([1.0] * 950 + [0.0] * 50, 0.05, "kept"),
        ([1.0] * 700 + [0.0] * 300, -0.2, "lost"),
        ([1.0] * 890 + [0.0] * 110, -0.01, "inconclusive"),
    ],
)
def test_a_negative_change_in_quality_is_worse(
    tmp_path: Path, scores: list[float], change: float, verdict: str
) -> None:
    row = load(Folder([Row(BASELINE, 2.0, RIGHT), Row(PLAIN, 1.0, scores)]), tmp_path).loc["ort"]
    assert row["quality_change"] == pytest.approx(change)
    assert row["quality_verdict"] == verdict
    assert row["quality_change_low"] <= row["quality_change_high"]
    assert row["quality_flips"] == pytest.approx(abs(change))


def test_where_lower_is_better_a_higher_score_is_a_negative_change(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    loss = rng.uniform(0.5, 1.5, 500)
    folder = Folder(
        [
            Row(BASELINE, 2.0, list(loss), higher_is_better=False),
            Row(PLAIN, 1.0, list(loss + 0.3 + rng.normal(0, 0.01, 500)), higher_is_better=False),
        ]
    )
    row = load(folder, tmp_path).loc["ort"]
    assert row["quality_change"] == pytest.approx(-0.3, abs=0.01)
    assert row["quality_verdict"] == "lost"


def test_runs_of_different_hosts_stand_below_each_other_and_are_never_compared(tmp_path: Path) -> None:
    Folder([Row(BASELINE, 2.0)], host="host-a").write(tmp_path / "one")
    Folder([Row(BASELINE, 8.0), Row(PLAIN, 1.0)], host="host-b").write(tmp_path / "two")
    # A run whose baseline failed must not borrow another run's.
    Folder([Row(PLAIN, 1.0)], [(BASELINE, Status.FAILED, "broke")], host="host-c").write(tmp_path / "three")
    frame = harness.load(tmp_path)
    assert list(frame.groupby("run").size()) == [1, 2, 2]
    found = {run: part.set_index("trial") for run, part in frame.groupby("run")}
    assert found["two"].loc["ort", "speedup"] == pytest.approx(8.0, rel=0.005)
    assert found["three"]["speedup"].isna().all()
    assert list(frame.index) == list(range(5))


def test_trials_are_counted_by_status(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 2.0)], [(INT8, Status.OOM, "x"), (PLAIN, Status.OOM, "y")]), tmp_path)
    counts = summary(frame)
    assert (counts["ok"], counts["oom"], counts["crashed"]) == (1, 2, 0)
