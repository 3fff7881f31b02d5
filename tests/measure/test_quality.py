from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InvalidOutputError
from harness.measure.quality import METRICS

ACCURACY = METRICS.get("accuracy")
AUC = METRICS.get("roc-auc")


def test_a_prediction_is_the_class_with_the_highest_score() -> None:
    outputs = (np.array([[0.1, 0.9, 0.0], [5.0, -1.0, 2.0]], dtype=np.float32),)
    assert ACCURACY.predict(outputs).tolist() == [1, 0]


def test_a_score_is_1_where_the_prediction_is_right() -> None:
    outputs = (np.eye(3, dtype=np.float32),)
    scores = ACCURACY.score(outputs, np.array([0, 2, 2]))
    assert scores.tolist() == [1.0, 0.0, 1.0]
    assert scores.dtype == np.float64
    assert ACCURACY.higher_is_better


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2)])
def test_outputs_that_are_no_class_scores_are_refused_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOutputError, match=rf"shape \(n, classes\), got \({shape[0]},"):
        ACCURACY.score((np.zeros(shape),), np.zeros(3))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100.0))
def test_scaling_all_outputs_changes_no_score(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(16, 4)), rng.integers(0, 4, 16)
    assert ACCURACY.score((logits,), targets).tolist() == ACCURACY.score((logits * scale,), targets).tolist()


def test_every_metric_is_listed_under_its_own_name() -> None:
    assert all(METRICS.get(name).name == name for name in METRICS)


def test_the_value_of_most_metrics_is_the_mean_of_the_scores() -> None:
    assert ACCURACY.paired == "mean"
    assert ACCURACY.value(np.array([1.0, 0.0, 1.0, 1.0]), None) == 0.75


def test_the_area_counts_the_pairs_in_the_right_order_and_half_of_the_ties() -> None:
    scores, targets = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0])
    assert AUC.paired == "rank"
    assert AUC.value(scores, targets) == 3.5 / 4
    assert AUC.value(-scores, targets) == 0.5 / 4
    assert AUC.value(np.zeros(4), targets) == 0.5


@given(st.integers(0, 2**32 - 1))
def test_the_area_is_what_counting_all_pairs_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, 8, 40).astype(float), np.r_[0, 1, rng.integers(0, 2, 38)]
    difference = scores[targets == 1][:, None] - scores[targets == 0][None, :]
    pairs = float(np.mean((difference > 0) + 0.5 * (difference == 0)))
    assert AUC.value(scores, targets) == pytest.approx(pairs, abs=1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_the_score_of_a_click_is_what_the_model_says_of_it(shape: tuple[int, ...]) -> None:
    outputs = (np.array([0.5, -2.0, 7.0], dtype=np.float32).reshape(shape),)
    assert AUC.score(outputs, np.array([0, 1, 1])).tolist() == [0.5, -2.0, 7.0]
    assert AUC.predict(outputs) is None


def test_an_area_needs_one_score_an_example_and_targets_of_both_classes() -> None:
    with pytest.raises(InvalidOutputError, match=r"one score an example, \(n,\) or \(n, 1\), got \(3, 2\)"):
        AUC.score((np.zeros((3, 2)),), np.zeros(3))
    with pytest.raises(InvalidOutputError, match="targets of 0 and 1"):
        AUC.score((np.zeros(3),), np.array([0, 1, 2]))
    with pytest.raises(InvalidOutputError, match="both classes, got 3 of 0 and 0 of 1"):
        AUC.value(np.zeros(3), np.zeros(3))
