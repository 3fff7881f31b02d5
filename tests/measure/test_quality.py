from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InvalidOutputError
from harness.measure.quality import METRICS

ACCURACY = METRICS.get("accuracy")


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
