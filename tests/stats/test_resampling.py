from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.stats.resampling import FEWEST, bootstrap_mean


@pytest.mark.parametrize("n", [20, 50, 400])
def test_the_interval_of_normal_values_is_as_wide_as_students_t(n: int) -> None:
    # Quantiles of 4000 resamples are themselves uncertain by about 2 % of the half-width.
    values = np.random.default_rng(7).normal(3.0, 2.0, n)
    low, high = bootstrap_mean(values)
    error = float(np.std(values, ddof=1)) / np.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.25 * half)


def test_the_same_values_give_the_same_interval_each_time() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=100)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_an_interval_of_skewed_values_reaches_further_to_the_long_side() -> None:
    values = np.random.default_rng(2).gamma(0.3, size=60)
    low, high = bootstrap_mean(values)
    assert high - values.mean() > 1.1 * (values.mean() - low)


def test_it_covers_the_mean_of_skewed_values_about_as_often_as_it_says() -> None:
    # Seeded: 300 experiments of 60 values; the standard error of a coverage of 93 % is 1.5 points.
    rng = np.random.default_rng(11)
    held = [low <= 1.0 <= high for low, high in (bootstrap_mean(rng.gamma(1.0, size=60)) for _ in range(300))]
    assert 0.90 <= float(np.mean(held)) <= 0.98


def test_equal_values_have_no_spread() -> None:
    assert bootstrap_mean(np.full(30, 0.25)) == (0.25, 0.25)


def test_few_values_are_an_error() -> None:
    with pytest.raises(ValueError, match=f"needs {FEWEST} examples, got 19"):
        bootstrap_mean(np.arange(19.0))
