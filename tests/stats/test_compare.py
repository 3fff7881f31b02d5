from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.stats.compare import PROCESS_MARGIN, Speed, speed_verdict
from harness.stats.estimate import Estimate, NotEnough, Scope

LAW = settings(max_examples=200, deadline=None, derandomize=True)

OPPOSITE = {
    Speed.FASTER: Speed.SLOWER,
    Speed.SLOWER: Speed.FASTER,
    Speed.SAME: Speed.SAME,
    Speed.INCONCLUSIVE: Speed.INCONCLUSIVE,
}


def interval(low: float, high: float, scope: Scope = "host") -> Estimate:
    return Estimate(value=math.sqrt(low * high), low=low, high=high, units=5, n=40, scope=scope)


scopes: st.SearchStrategy[Scope] = st.sampled_from(("host", "process"))
centers, half_widths = st.floats(-0.2, 0.2), st.floats(0, 0.1)
margins = st.floats(0, 0.1)


def estimate_of(center: float, half: float, scope: Scope) -> Estimate:
    return interval(math.exp(center - half), math.exp(center + half), scope)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.03, 1.05, Speed.FASTER),
        (0.90, 0.97, Speed.SLOWER),
        (0.99, 1.01, Speed.SAME),
        (1.00, 1.04, Speed.INCONCLUSIVE),
        (0.97, 1.00, Speed.INCONCLUSIVE),
        (0.90, 1.10, Speed.INCONCLUSIVE),
        (1.01, 1.03, Speed.INCONCLUSIVE),
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(low: float, high: float, verdict: Speed) -> None:
    assert speed_verdict(interval(low, high), margin=0.02).verdict is verdict


def test_the_lower_bound_is_the_reciprocal_of_the_upper_one() -> None:
    # 1/1.02 = 0.98039: just below is slower, and 0.98 as a plain difference plays no part.
    assert speed_verdict(interval(0.97, 0.9803), margin=0.02).verdict is Speed.SLOWER
    assert speed_verdict(interval(0.97, 0.9805), margin=0.02).verdict is Speed.INCONCLUSIVE


@LAW
@given(centers, half_widths, scopes, margins)
def test_swapping_the_sides_swaps_the_verdict(center: float, half: float, scope: Scope, margin: float) -> None:
    # Rounding may decide only on the very border.
    borders = (math.log1p(margin), math.log1p(PROCESS_MARGIN))
    ends = (abs(center - half), abs(center + half))
    assume(all(abs(end - border) > 1e-9 for end in ends for border in borders))
    verdict = speed_verdict(estimate_of(center, half, scope), margin).verdict
    assert speed_verdict(estimate_of(-center, half, scope), margin).verdict is OPPOSITE[verdict]


@LAW
@given(centers, half_widths, scopes, margins)
def test_only_an_inconclusive_verdict_needs_a_reason(center: float, half: float, scope: Scope, margin: float) -> None:
    result = speed_verdict(estimate_of(center, half, scope), margin)
    assert (result.verdict is Speed.INCONCLUSIVE) == bool(result.reason)


@LAW
@given(centers, half_widths, scopes, margins, st.floats(0, 0.1))
def test_a_wider_margin_never_turns_same_into_different(
    center: float, half: float, scope: Scope, margin: float, more: float
) -> None:
    estimate = estimate_of(center, half, scope)
    strict, lenient = speed_verdict(estimate, margin).verdict, speed_verdict(estimate, margin + more).verdict
    if strict is Speed.SAME:
        assert lenient is Speed.SAME
    if lenient in (Speed.FASTER, Speed.SLOWER):
        assert strict is lenient


@LAW
@given(centers, half_widths, st.floats(0, PROCESS_MARGIN, exclude_max=True))
def test_one_set_of_processes_never_says_same_nor_different_below_five_percent(
    center: float, half: float, margin: float
) -> None:
    estimate = estimate_of(center, half, "process")
    verdict = speed_verdict(estimate, margin).verdict
    assert verdict is not Speed.SAME
    assert verdict is not Speed.FASTER or estimate.low > 1 + PROCESS_MARGIN
    assert verdict is not Speed.SLOWER or estimate.high < 1 / (1 + PROCESS_MARGIN)


@pytest.mark.parametrize(("low", "high"), [(0.999, 1.001), (1.03, 1.04), (0.96, 0.97)])
def test_one_set_of_processes_asks_for_replicates_where_they_would_decide(low: float, high: float) -> None:
    result = speed_verdict(interval(low, high, "process"), margin=0.02)
    assert result.verdict is Speed.INCONCLUSIVE
    assert "at least 3 replicates" in result.reason


def test_one_set_of_processes_tells_large_differences() -> None:
    assert speed_verdict(interval(1.4, 1.6, "process"), margin=0.02).verdict is Speed.FASTER
    assert speed_verdict(interval(0.6, 0.7, "process"), margin=0.02).verdict is Speed.SLOWER
    assert speed_verdict(interval(0.95, 1.05, "process"), margin=0.10).verdict is Speed.SAME


def test_the_reason_names_the_width_and_the_margin() -> None:
    result = speed_verdict(estimate_of(0.02, 0.015, "host"), margin=0.02)
    assert result.reason == "interval of ±1.5 % crosses the margin of 2.0 %"


def test_without_an_estimate_the_verdict_is_inconclusive_for_the_same_reason() -> None:
    result = speed_verdict(NotEnough("needs 3 replicates"), margin=0.02)
    assert (result.verdict, result.reason) == (Speed.INCONCLUSIVE, "needs 3 replicates")


def test_a_negative_margin_is_an_error() -> None:
    with pytest.raises(ValueError, match="margin must not be negative"):
        speed_verdict(interval(0.9, 1.1), margin=-0.01)


floors = st.floats(0, 0.3)


@LAW
@given(centers, half_widths, scopes, margins, floors)
def test_swapping_the_sides_swaps_the_verdict_with_a_floor_too(
    center: float, half: float, scope: Scope, margin: float, floor: float
) -> None:
    borders = (math.log1p(margin), math.log1p(PROCESS_MARGIN), math.log1p(floor))
    ends = (abs(center), abs(center - half), abs(center + half))
    assume(all(abs(end - border) > 1e-9 for end in ends for border in borders))
    verdict = speed_verdict(estimate_of(center, half, scope), margin, floor).verdict
    assert speed_verdict(estimate_of(-center, half, scope), margin, floor).verdict is OPPOSITE[verdict]


@LAW
@given(centers, half_widths, scopes, margins, floors)
def test_a_floor_only_takes_claims_away_and_says_so(
    center: float, half: float, scope: Scope, margin: float, floor: float
) -> None:
    estimate = estimate_of(center, half, scope)
    free, held = speed_verdict(estimate, margin), speed_verdict(estimate, margin, floor)
    if held != free:
        assert free.verdict is not Speed.INCONCLUSIVE
        assert held.verdict is Speed.INCONCLUSIVE
        assert "noise floor" in held.reason


@LAW
@given(centers, half_widths, scopes, margins, floors, floors)
def test_a_higher_floor_never_allows_a_claim(
    center: float, half: float, scope: Scope, margin: float, floor: float, more: float
) -> None:
    estimate = estimate_of(center, half, scope)
    low, high = speed_verdict(estimate, margin, floor), speed_verdict(estimate, margin, floor + more)
    assert high == low or high.verdict is Speed.INCONCLUSIVE


@LAW
@given(centers, half_widths, scopes, margins, floors)
def test_a_claim_of_a_difference_lies_beyond_the_floor(
    center: float, half: float, scope: Scope, margin: float, floor: float
) -> None:
    estimate = estimate_of(center, half, scope)
    verdict = speed_verdict(estimate, margin, floor).verdict
    if verdict in (Speed.FASTER, Speed.SLOWER):
        assert abs(math.log(estimate.value)) > math.log1p(floor)
    assert verdict is not Speed.SAME or floor <= margin


def test_without_a_floor_or_with_one_of_zero_the_interval_decides() -> None:
    for low, high in ((1.03, 1.05), (0.90, 0.97), (0.99, 1.01), (1.0, 1.04)):
        free = speed_verdict(interval(low, high), margin=0.02)
        assert speed_verdict(interval(low, high), margin=0.02, floor=0.0) == free


def test_the_reason_names_the_floor() -> None:
    small = speed_verdict(estimate_of(math.log(1.04), 0.001, "host"), margin=0.02, floor=0.05)
    assert small.reason == "a difference of 4.0 % is not beyond this host's noise floor of 5.0 %"
    slow = speed_verdict(estimate_of(-math.log(1.04), 0.001, "host"), margin=0.02, floor=0.05)
    assert slow.reason == small.reason
    same = speed_verdict(interval(0.999, 1.001), margin=0.02, floor=0.05)
    assert same.reason == "this host's noise floor of 5.0 % exceeds the margin of 2.0 %"


def test_too_few_rounds_stay_the_reason_whatever_the_floor() -> None:
    assert speed_verdict(NotEnough("needs 3 replicates"), margin=0.02, floor=0.5).reason == "needs 3 replicates"


def test_a_negative_floor_is_an_error() -> None:
    with pytest.raises(ValueError, match="floor must not be negative"):
        speed_verdict(interval(0.9, 1.1), margin=0.02, floor=-0.01)
