from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.stats.estimate import NotEnough
from harness.stats.noise import Components, components, floor

LAW = settings(max_examples=100, deadline=None, derandomize=True)
sds = st.floats(0, 0.3)
counts = st.integers(1, 50)


def simulate(
    rng: np.random.Generator, within: float, between: float, replicates: int, rounds: int = 20, processes: int = 6
) -> list[np.ndarray]:
    tables = []
    for _ in range(replicates):
        mood = rng.normal(0, 0.2, (rounds, 1))
        offsets = rng.normal(0, between, (1, processes))
        tables.append(-7.0 + mood + offsets + rng.normal(0, within, (rounds, processes)))
    return tables


def components_of(tables: list[np.ndarray]) -> Components:
    result = components(tables)
    assert isinstance(result, Components)
    return result


@pytest.mark.parametrize(("within", "between"), [(0.03, 0.01), (0.01, 0.03), (0.05, 0.0)])
def test_known_components_are_found(within: float, between: float) -> None:
    found = components_of(simulate(np.random.default_rng(1), within, between, replicates=300))
    assert found.within == pytest.approx(within, rel=0.02)
    assert found.between == pytest.approx(between, rel=0.06, abs=0.003)
    assert (found.processes, found.rounds, found.replicates) == (1800, 6000, 300)


@pytest.mark.parametrize(("within", "between"), [(0.03, 0.01), (0.01, 0.01), (0.03, 0.003)])
def test_the_interval_holds_the_truth_in_at_least_95_of_100(within: float, between: float) -> None:
    rng = np.random.default_rng(2)
    found = [components_of(simulate(rng, within, between, replicates=3)) for _ in range(1000)]
    held = np.mean([c.between_low <= between <= c.between_high for c in found])
    assert held >= 0.935  # the Monte-Carlo error is 0.7 points


def test_without_offsets_the_estimate_is_zero_in_about_half() -> None:
    rng = np.random.default_rng(3)
    found = [components_of(simulate(rng, 0.03, 0.0, replicates=3)) for _ in range(500)]
    zero = np.mean([c.between == 0.0 for c in found])
    assert 0.4 < zero < 0.7
    assert all(c.between_low <= c.between <= c.between_high for c in found)


@LAW
@given(
    arrays(np.float64, (5, 4), elements=st.floats(-1, 1)),
    arrays(np.float64, (5, 1), elements=st.floats(-3, 3)),
)
def test_what_a_round_shares_cancels(table: np.ndarray, mood: np.ndarray) -> None:
    one, two = components_of([table]), components_of([table + mood])
    assert two.within == pytest.approx(one.within, abs=1e-9)
    assert two.between == pytest.approx(one.between, abs=1e-6)


@LAW
@given(arrays(np.float64, (5, 4), elements=st.floats(-1, 1)), st.permutations(range(4)))
def test_the_order_of_processes_plays_no_part(table: np.ndarray, order: list[int]) -> None:
    one, two = components_of([table]), components_of([table[:, order]])
    assert two.within == pytest.approx(one.within, abs=1e-9)
    assert two.between == pytest.approx(one.between, abs=1e-6)


def test_a_replicate_keeps_its_own_level() -> None:
    tables = simulate(np.random.default_rng(4), 0.03, 0.01, replicates=3)
    shifted = [table + 5.0 * i for i, table in enumerate(tables)]
    assert components_of(shifted).between == pytest.approx(components_of(tables).between, rel=1e-6)


def test_replicates_may_have_different_rounds_and_processes() -> None:
    rng = np.random.default_rng(5)
    tables = [t for n, p in ((20, 6), (35, 5)) for t in simulate(rng, 0.03, 0.01, 200, rounds=n, processes=p)]
    found = components_of(tables)
    assert found.between == pytest.approx(0.01, rel=0.1)
    assert found.within == pytest.approx(0.03, rel=0.02)


def test_identical_times_have_no_noise() -> None:
    found = components_of([np.zeros((4, 3))])
    assert (found.within, found.between, found.between_high) == (0.0, 0.0, 0.0)


def test_one_process_or_one_round_is_not_enough() -> None:
    assert isinstance(components([np.zeros((20, 1)), np.zeros((1, 6))]), NotEnough)
    assert isinstance(components([]), NotEnough)


def test_a_time_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        components([np.full((3, 3), math.inf)])


@pytest.mark.parametrize("between", [0.0, 0.01, 0.03])
def test_long_tails_do_not_raise_the_floor_above_what_medians_feel(between: float) -> None:
    # One block in five is ten times as noisy, which makes the plain standard deviation 4.6 times as large.
    rng = np.random.default_rng(7)
    k, n, pairs = 5, 20, 2000

    def times(shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(0, 0.01, shape) * np.where(rng.random(shape) < 0.2, 10.0, 1.0)

    tables = [times((n, 6)) + rng.normal(0, between, (1, 6)) for _ in range(100)]
    found = components_of(tables)
    assert found.between == pytest.approx(between, rel=0.1, abs=0.0025)
    sides = times((pairs, k, n, 2)) + rng.normal(0, between, (pairs, k, 1, 2))
    estimates = np.median(sides[..., 0] - sides[..., 1], axis=2).mean(axis=1)
    limit = math.log1p(floor(found.within, found.between, k, n))
    assert 0.02 < np.mean(np.abs(estimates) > limit) < 0.08


def test_the_floor_is_the_formula() -> None:
    # sqrt((2·0.01² + π/2·2·0.03²/20) / 5) = 0.008263; times 1.95996
    assert floor(0.03, 0.01, replicates=5, rounds=20) == pytest.approx(math.expm1(1.959964 * 0.0082634), rel=1e-4)


@LAW
@given(sds, sds, counts, counts)
def test_more_replicates_or_rounds_never_raise_the_floor(within: float, between: float, k: int, n: int) -> None:
    here = floor(within, between, k, n)
    assert here >= 0
    assert floor(within, between, k + 1, n) <= here
    assert floor(within, between, k, n + 1) <= here


@LAW
@given(sds, sds, counts, counts, st.floats(0, 0.1))
def test_more_noise_never_lowers_the_floor(within: float, between: float, k: int, n: int, more: float) -> None:
    here = floor(within, between, k, n)
    assert floor(within + more, between, k, n) >= here
    assert floor(within, between + more, k, n) >= here


def test_rounds_alone_never_go_below_the_offsets_own_floor() -> None:
    assert floor(0.03, 0.01, 5, 10**9) == pytest.approx(floor(0.0, 0.01, 5, 1), rel=1e-3)


@pytest.mark.parametrize(("within", "between"), [(0.03, 0.01), (0.05, 0.0), (0.01, 0.02)])
def test_an_aa_pair_exceeds_the_floor_in_about_five_of_a_hundred(within: float, between: float) -> None:
    rng = np.random.default_rng(6)
    k, n, pairs = 5, 20, 2000
    limit = math.log1p(floor(within, between, k, n))
    offsets = rng.normal(0, between, (pairs, k, 1, 2))
    times = offsets + rng.normal(0, within, (pairs, k, n, 2))
    estimates = np.median(times[..., 0] - times[..., 1], axis=2).mean(axis=1)
    exceeded = np.mean(np.abs(estimates) > limit)
    assert 0.03 < exceeded < 0.065


@pytest.mark.parametrize(("k", "n", "within"), [(0, 20, 0.1), (5, 0, 0.1), (5, 20, -0.1)])
def test_a_budget_of_nothing_or_a_negative_spread_is_an_error(k: int, n: int, within: float) -> None:
    with pytest.raises(ValueError, match="must"):
        floor(within, 0.01, k, n)
