from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.stats.quality import Kept, rank_mean, rank_verdict
from harness.stats.ranks import Values, areas


def examples(n: int = 300, seed: int = 0) -> tuple[Values, Values, Values]:
    """Return targets and two models' scores; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(n) < 0.4).astype(float)
    first = targets + rng.normal(0, 1.2, n)
    return targets, np.round(first, 1), np.round(first + rng.normal(0, 0.4, n), 1)


def placements(scores: Values, targets: Values) -> tuple[Values, Values]:
    """Return DeLong's structural components by their definition, pair by pair."""
    ones, zeros = scores[targets == 1], scores[targets == 0]
    wins = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    return wins.mean(axis=1), wins.mean(axis=0)


def test_the_area_is_that_of_scikit_learn_ties_and_all() -> None:
    targets, first, second = examples()
    found = areas([first, second], targets)
    assert found.values == pytest.approx([roc_auc_score(targets, s) for s in (first, second)])


def test_the_covariance_is_delongs_by_definition() -> None:
    targets, first, second = examples()
    above, below = zip(*(placements(s, targets) for s in (first, second)), strict=True)
    ones = targets.sum()
    wanted = np.cov(above) / ones + np.cov(below) / (len(targets) - ones)
    assert areas([first, second], targets).covariance == pytest.approx(wanted)


def test_a_hand_made_case() -> None:
    # Pairs (one, zero): 3>1, 3>2, 2>1, 2=2: 3.5 of 4.
    found = areas([np.array([1.0, 2.0, 2.0, 3.0])], np.array([0, 0, 1, 1]))
    assert found.values == pytest.approx([0.875])
    # Placements .75, 1 of the ones and 1, .75 of the zeros: variances 1/32 each, over two examples.
    assert found.covariance == pytest.approx(np.array([[1 / 32]]))


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0], [0, 1, 2]])
def test_other_targets_or_a_missing_class_are_an_error(targets: list[int]) -> None:
    with pytest.raises(ValueError, match="targets of 0 and 1"):
        areas([np.arange(3.0)], np.array(targets))


def test_one_example_of_a_class_tells_no_spread() -> None:
    result = rank_verdict(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), np.array([0, 0, 1]), 0.1)
    assert (result.low, result.high) == (-np.inf, np.inf)
    assert (result.verdict, result.n_needed) == (Kept.INCONCLUSIVE, None)


def test_the_value_has_an_interval_within_zero_and_one() -> None:
    targets, first, _ = examples(40)
    mean = rank_mean(first, targets)
    assert 0 <= mean.low < mean.value < mean.high <= 1
    assert mean.n == 40
    assert rank_mean(targets, targets).high == 1.0


def test_equal_orders_are_kept_whatever_the_scale() -> None:
    targets, first, _ = examples()
    result = rank_verdict(first, 5 + np.exp(first), targets, 0.001)
    assert (result.verdict, result.change, result.method) == (Kept.KEPT, 0.0, "DeLong")
    assert result.flips is None
    assert result.mcnemar_p is None


def test_a_model_that_orders_by_chance_has_lost() -> None:
    targets, first, _ = examples(2000)
    noise = np.random.default_rng(5).normal(size=2000)
    result = rank_verdict(first, noise, targets, 0.01)
    assert result.verdict is Kept.LOST
    assert result.low <= result.change <= result.high < -0.01


def test_the_paired_interval_covers_the_true_change_about_as_often_as_it_says() -> None:
    # Seeded, 400 experiments: both models are the truth plus noise of one size, so the true change is 0.
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        targets = (rng.random(200) < 0.3).astype(float)
        common = targets + rng.normal(0, 1, 200)
        sides = [common + rng.normal(0, 0.5, 200) for _ in range(2)]
        result = rank_verdict(*sides, targets, 0.01)
        held += result.low <= 0 <= result.high
    assert 0.92 <= held / 400 <= 0.98


def test_more_examples_are_said_where_the_interval_crosses_the_margin() -> None:
    targets, first, second = examples(200)
    result = rank_verdict(first, second, targets, 0.02)
    assert result.verdict is Kept.INCONCLUSIVE
    assert result.n_needed is not None
    assert result.n_needed > 200
