"""The columns on quality: what is tested against the baseline, example by example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import harness
from tests.run_folder import BASELINE, INT8, Folder, Row

TARGETS = np.repeat([0, 1, 2], [60, 30, 10])


def judged(trial: object, predicted: np.ndarray, **more: object) -> Row:
    scores = list((predicted == TARGETS).astype(float))
    return Row(trial, 1.0, scores, predicted=list(predicted), targets=list(TARGETS), **more)  # type: ignore[arg-type]


def load(tmp_path: Path, *rows: Row, quality_margin: float = 0.05) -> pd.Series:
    folder = Folder(list(rows), quality_margin=quality_margin)
    return harness.load(folder.write(tmp_path / "run")).set_index("trial").loc["ort-int8"]


def test_right_and_wrong_get_mcnemars_test_and_answers_are_counted_that_changed(tmp_path: Path) -> None:
    before = TARGETS.copy()
    before[0] = 2  # wrong before and after, another answer
    after = before.copy()
    after[0], after[1:4], after[60:66] = 1, 1, 0
    row = load(tmp_path, judged(BASELINE, before), judged(INT8, after))
    assert row["quality_mcnemar_p"] == pytest.approx(2 / 2**9)
    assert row["quality_method"] == "Bonett-Price"
    assert row["quality_flips"] == pytest.approx(0.09)  # scores
    assert row["prediction_flips"] == pytest.approx(0.10)
    assert (row["worst_class"], row["worst_class_n"]) == (1, 30)
    assert row["worst_class_change"] == pytest.approx(-0.2)


def test_predictions_that_are_no_classes_have_no_class_columns(tmp_path: Path) -> None:
    row = load(tmp_path, Row(BASELINE, 2.0), Row(INT8, 1.0))  # their predictions are floats
    assert pd.isna(row["prediction_flips"])
    assert pd.isna(row["worst_class"])
    assert row["quality_mcnemar_p"] == 1.0


def test_a_graded_metric_is_resampled_in_pairs(tmp_path: Path) -> None:
    cosine = np.random.default_rng(0).uniform(0.98, 1.0, 100)
    rows = [Row(t, 1.0, list(s), metric="cosine-agreement") for t, s in ((BASELINE, cosine), (INT8, cosine - 0.2))]
    row = load(tmp_path, *rows)
    assert (row["quality_method"], row["quality_verdict"]) == ("paired bootstrap", "lost")
    assert pd.isna(row["quality_mcnemar_p"])
    assert row["quality_change"] == pytest.approx(-0.2)


def ranked(trial: object, scores: np.ndarray, targets: np.ndarray) -> Row:
    return Row(trial, 1.0, list(scores), targets=list(targets), metric="roc-auc")  # type: ignore[arg-type]


def test_a_metric_of_ranks_is_the_area_and_is_compared_as_delong_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    targets = np.arange(500) % 2
    scores = targets + rng.normal(0, 1, 500)
    row = load(tmp_path, ranked(BASELINE, scores, targets), ranked(INT8, scores + rng.normal(0, 0.02, 500), targets))
    assert row["quality"] == pytest.approx(roc_auc_score(targets, scores), abs=0.01)
    assert row["quality_low"] < row["quality"] < row["quality_high"]
    assert (row["quality_method"], row["quality_verdict"]) == ("DeLong", "kept")
    assert pd.isna(row["quality_flips"])
    assert pd.isna(row["prediction_flips"])


def test_a_metric_of_ranks_without_both_classes_is_missing_with_the_reason(tmp_path: Path) -> None:
    ones = np.ones(30, dtype=int)
    row = load(tmp_path, *(ranked(t, np.arange(30.0), ones) for t in (BASELINE, INT8)))
    assert pd.isna(row["quality"])
    for column in ("quality", "quality_change"):
        assert row["missing"][column] == "needs targets of 0 and 1, and examples of both"


def test_the_baseline_of_other_examples_is_no_comparison(tmp_path: Path) -> None:
    row = load(tmp_path, Row(BASELINE, 2.0, [1.0] * 50), Row(INT8, 1.0, [1.0] * 40))
    assert pd.isna(row["quality_verdict"])
    assert row["missing"]["quality_change"] == "needs the same examples on both sides, got 50 and 40"


def test_runs_of_older_metrics_count_as_means(tmp_path: Path) -> None:
    rows = [Row(trial, 1.0, [0.5] * 40, metric="a metric of old") for trial in (BASELINE, replace(INT8))]
    assert load(tmp_path, *rows)["quality"] == 0.5
