"""The search for a rate: pure, asked of a function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.workloads.search import highest_rate


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e6), st.sampled_from([0.02, 0.05, 0.5]))
def test_the_rate_is_within_the_resolution_below_the_limit(limit: float, start: float, resolution: float) -> None:
    found = highest_rate(lambda rate: rate <= limit, start, step=2.0, resolution=resolution, most=60)
    assert found is not None
    assert limit / (1.0 + resolution) * (1 - 1e-9) <= found <= limit


def test_only_rates_that_were_tried_and_held_are_returned() -> None:
    held: list[float] = []

    def holds(rate: float) -> bool:
        if rate <= 700:
            held.append(rate)
        return rate <= 700

    assert highest_rate(holds, 100, step=1.4, resolution=0.05) == max(held)


def test_when_no_rate_holds_there_is_none_and_the_search_ends() -> None:
    tried: list[float] = []
    assert highest_rate(lambda rate: bool(tried.append(rate)), 64.0, step=2.0, resolution=0.1, most=5) is None
    assert tried == [64, 32, 16, 8, 4]


def test_when_every_rate_holds_the_highest_that_was_tried_is_returned() -> None:
    assert highest_rate(lambda rate: True, 1.0, step=2.0, resolution=0.1, most=4) == 8.0


def test_a_resolution_of_the_step_takes_no_halving() -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate < 10

    assert highest_rate(holds, 2.0, step=2.0, resolution=1.0) == pytest.approx(8.0)
    assert tried == [2, 4, 8, 16]
