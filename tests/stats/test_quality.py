from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.stats.quality import Kept, QualityVerdict, Scores, mcnemar, mean_score, quality_verdict

LAW = settings(max_examples=80, deadline=None, derandomize=True)

right_wrong = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80)
graded = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=40)
margins = st.floats(0, 0.3)


def sides(pairs: list[tuple[float, float]]) -> tuple[Scores, Scores]:
    table = np.array(pairs, dtype=np.float64)
    return table[:, 0], table[:, 1]


def paired(gained: int, dropped: int, n: int) -> tuple[Scores, Scores]:
    """Return right/wrong scores of which ``gained`` became right and ``dropped`` became wrong."""
    baseline, variant = np.zeros(n), np.zeros(n)
    variant[:gained] = 1.0
    baseline[gained : gained + dropped] = 1.0
    return baseline, variant


def verdict_of(gained: int, dropped: int, n: int, margin: float) -> QualityVerdict:
    return quality_verdict(*paired(gained, dropped, n), margin)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17, 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_right_wrong_scores_get_wilsons_interval(right: int, n: int, low: float, high: float) -> None:
    mean = mean_score(np.r_[np.ones(right), np.zeros(n - right)])
    assert (mean.low, mean.high) == pytest.approx((low, high), abs=5e-5)
    assert mean.value == pytest.approx(right / n)
    assert mean.n == n


@LAW
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.floats(0.5, 0.999))
def test_wilsons_bounds_stay_within_zero_and_one(scores: list[bool], confidence: float) -> None:
    mean = mean_score(np.array(scores, dtype=np.float64), confidence)
    # At all right or all wrong the bound is the value itself, up to rounding.
    assert 0 <= mean.low <= mean.value + 1e-12
    assert mean.value - 1e-12 <= mean.high <= 1


def test_graded_scores_get_students_t() -> None:
    # Mean 2, sd 1, t(0.975, 2) = 4.302653.
    mean = mean_score(np.array([1.0, 2.0, 3.0]))
    half = 4.302653 / math.sqrt(3)
    assert (mean.low, mean.value, mean.high) == pytest.approx((2 - half, 2.0, 2 + half))


def test_one_graded_score_has_no_bounds() -> None:
    mean = mean_score(np.array([0.4]))
    assert (mean.low, mean.high) == (-math.inf, math.inf)


def test_no_scores_are_an_error() -> None:
    with pytest.raises(ValueError, match="no scores"):
        mean_score(np.array([]))


def test_paired_right_wrong_scores_match_the_published_example() -> None:
    # statpsych's ci.prop.ps(.05, 12, 4, 26, 6) is Bonett & Price (2012): 0.2548067 to 0.6251933.
    result = verdict_of(gained=26, dropped=4, n=48, margin=0.0)
    assert (result.low, result.high) == pytest.approx((0.2548067, 0.6251933), abs=1e-7)
    assert (result.change, result.flips) == pytest.approx((22 / 48, 30 / 48))


@LAW
@given(right_wrong | graded, margins)
def test_the_interval_contains_the_change(pairs: list[tuple[float, float]], margin: float) -> None:
    result = quality_verdict(*sides(pairs), margin)
    assert result.low <= result.change + 1e-12
    assert result.change <= result.high + 1e-12


@LAW
@given(right_wrong | graded, margins)
def test_the_verdict_says_where_the_interval_lies(pairs: list[tuple[float, float]], margin: float) -> None:
    result = quality_verdict(*sides(pairs), margin)
    assert (result.verdict is Kept.KEPT) == (result.low > -margin)
    assert (result.verdict is Kept.LOST) == (result.high < -margin)
    assert result.n_needed is None or result.verdict is Kept.INCONCLUSIVE


@LAW
@given(right_wrong | graded, margins, st.floats(0, 0.3))
def test_what_is_kept_at_a_margin_is_kept_at_a_wider_one(
    pairs: list[tuple[float, float]], margin: float, more: float
) -> None:
    strict = quality_verdict(*sides(pairs), margin).verdict
    lenient = quality_verdict(*sides(pairs), margin + more).verdict
    assert strict is not Kept.KEPT or lenient is Kept.KEPT
    assert lenient is not Kept.LOST or strict is Kept.LOST


@LAW
@given(right_wrong | graded, margins)
def test_swapping_the_sides_turns_the_interval_around(pairs: list[tuple[float, float]], margin: float) -> None:
    baseline, variant = sides(pairs)
    forth, back = quality_verdict(baseline, variant, margin), quality_verdict(variant, baseline, margin)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))
    assert back.flips == forth.flips


@LAW
@given(right_wrong | graded, margins)
def test_lower_is_better_turns_the_sign(pairs: list[tuple[float, float]], margin: float) -> None:
    baseline, variant = sides(pairs)
    higher = quality_verdict(variant, baseline, margin)
    lower = quality_verdict(baseline, variant, margin, higher_is_better=False)
    assert lower == higher


def test_a_higher_loss_is_a_loss_of_quality() -> None:
    rng = np.random.default_rng(1)
    loss = rng.gamma(2.0, size=200)
    result = quality_verdict(loss, loss + 0.5 + 0.01 * rng.normal(size=200), 0.1, higher_is_better=False)
    assert result.verdict is Kept.LOST
    assert result.change == pytest.approx(-0.5, abs=0.01)


def test_unchanged_answers_of_few_examples_prove_little() -> None:
    few = verdict_of(gained=0, dropped=0, n=50, margin=0.01)
    assert (few.verdict, few.flips) == (Kept.INCONCLUSIVE, 0.0)
    assert verdict_of(gained=0, dropped=0, n=500, margin=0.01).verdict is Kept.KEPT


@pytest.mark.parametrize(
    ("gained", "dropped", "n", "margin"),
    [(0, 0, 50, 0.01), (0, 0, 60, 0.01), (3, 4, 100, 0.02), (1, 9, 120, 0.05), (2, 5, 90, 0.01), (5, 5, 70, 0.03)],
)
def test_the_examples_needed_would_decide_and_one_less_would_not(
    gained: int, dropped: int, n: int, margin: float
) -> None:
    result = verdict_of(gained, dropped, n, margin)
    assert result.verdict is Kept.INCONCLUSIVE
    assert result.n_needed is not None
    assert decides(gained / n, dropped / n, result.n_needed, margin)
    assert not decides(gained / n, dropped / n, result.n_needed - 1, margin)


def decides(gained: float, dropped: float, n: int, margin: float) -> bool:
    """Say whether Bonett and Price's interval at these rates lies on one side of −margin."""
    up, down = (gained * n + 1) / (n + 2), (dropped * n + 1) / (n + 2)
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return up - down - half > -margin or up - down + half < -margin


@LAW
@given(graded, margins)
def test_repeating_graded_examples_as_often_as_needed_decides(pairs: list[tuple[float, float]], margin: float) -> None:
    result = quality_verdict(*sides(pairs), margin)
    assume(result.n_needed is not None and result.n_needed < 100_000)
    assert result.n_needed is not None
    times = math.ceil(result.n_needed / result.n)
    baseline, variant = (np.tile(side, times) for side in sides(pairs))
    repeated = quality_verdict(baseline, variant, margin)
    assert repeated.verdict is not Kept.INCONCLUSIVE


@LAW
@given(right_wrong | graded, margins)
def test_more_examples_are_needed_than_there_are(pairs: list[tuple[float, float]], margin: float) -> None:
    result = quality_verdict(*sides(pairs), margin)
    assert result.n_needed is None or result.n_needed > result.n


def test_no_number_of_examples_decides_a_change_on_the_margin() -> None:
    result = verdict_of(gained=0, dropped=25, n=100, margin=0.25)
    assert (result.verdict, result.n_needed) == (Kept.INCONCLUSIVE, None)
    graded_change = quality_verdict(np.array([2.0, 3.0]), np.array([1.75, 2.75]), 0.25)
    assert (graded_change.verdict, graded_change.n_needed) == (Kept.INCONCLUSIVE, None)


def test_one_graded_example_decides_nothing() -> None:
    result = quality_verdict(np.array([0.5]), np.array([0.4]), 0.3)
    assert (result.verdict, result.n_needed) == (Kept.INCONCLUSIVE, None)


@pytest.mark.parametrize(("baseline", "variant"), [(3, 2), (0, 0), (0, 1)])
def test_different_examples_are_an_error(baseline: int, variant: int) -> None:
    with pytest.raises(ValueError, match="same examples on both sides"):
        quality_verdict(np.ones(baseline), np.ones(variant), 0.01)


def test_a_drop_of_exactly_the_margin_is_seldom_called_kept() -> None:
    # Seeded: one-sided 2.5 % by construction, 500 experiments of 400 examples.
    rng = np.random.default_rng(5)
    flips = rng.choice([1, -1, 0], p=[0.04, 0.06, 0.90], size=(500, 400))
    verdicts = [verdict_of(int((f > 0).sum()), int((f < 0).sum()), 400, margin=0.02).verdict for f in flips]
    assert sum(v is Kept.KEPT for v in verdicts) <= 25
    assert sum(v is Kept.LOST for v in verdicts) <= 25


@pytest.mark.parametrize(
    ("gained", "dropped", "p"),
    # By hand, 2 times the tail of a fair coin: 2 (1 + 5) / 32, 2 (1 + 10 + 45 + 120) / 1024 and capped at 1.
    [(0, 0, 1.0), (1, 4, 0.375), (0, 5, 0.0625), (3, 7, 0.34375), (5, 5, 1.0), (0, 1, 1.0)],
)
def test_mcnemars_exact_p_is_that_of_a_fair_coin(gained: int, dropped: int, p: float) -> None:
    assert mcnemar(gained, dropped) == pytest.approx(p)
    assert mcnemar(dropped, gained) == pytest.approx(p)
    assert verdict_of(gained, dropped, 60, 0.01).mcnemar_p == pytest.approx(p)


def test_a_test_of_difference_and_a_test_against_the_margin_are_two_questions() -> None:
    # Surely different, and surely by less than the margin.
    result = verdict_of(gained=0, dropped=12, n=5000, margin=0.01)
    assert result.verdict is Kept.KEPT
    assert result.mcnemar_p is not None
    assert result.mcnemar_p < 0.001


def test_graded_scores_are_resampled_in_pairs_and_few_of_them_get_students_t() -> None:
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.9, 1.0, 200)
    many = quality_verdict(scores, scores - 0.001 * rng.random(200), 0.01)
    assert (many.method, many.verdict, many.mcnemar_p) == ("paired bootstrap", Kept.KEPT, None)
    assert many.high - many.low < 0.0002  # of the pairs' differences, not of the scores
    assert quality_verdict(scores[:19], scores[:19] - 0.001, 0.01).method == "paired t"
