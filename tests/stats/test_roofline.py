from __future__ import annotations

import pytest

from harness.stats.roofline import OVERHEAD_SHARE, Bound, Roof, place

ROOF = Roof(100e9, 10e9)  # the ridge stands at 10 operations a byte


def test_the_limit_is_the_lower_of_peak_and_bandwidth() -> None:
    assert ROOF.ridge == 10
    assert ROOF.limit(1) == 10e9
    assert ROOF.limit(10) == 100e9
    assert ROOF.limit(1000) == 100e9


@pytest.mark.parametrize(
    ("flops", "moved", "side", "limit"),
    [
        (1e9, 1e9, Bound.MEMORY, 10e9),
        (9.999e9, 1e9, Bound.MEMORY, 99.99e9),
        (10e9, 1e9, Bound.ARITHMETIC, 100e9),  # the ridge itself
        (1e12, 1e9, Bound.ARITHMETIC, 100e9),
    ],
)
def test_a_call_is_bound_by_the_side_of_the_ridge_it_stands_on(
    flops: float, moved: float, side: Bound, limit: float
) -> None:
    placed = place(flops, moved, flops / (0.5 * limit), ROOF)
    assert placed.bound is placed.side is side
    assert placed.limit_flops_per_s == pytest.approx(limit)
    assert placed.ratio == pytest.approx(0.5)
    assert placed.intensity == pytest.approx(flops / moved)


@pytest.mark.parametrize(("share", "bound"), [(0.5, "arithmetic"), (0.11, "arithmetic"), (0.09, "overhead")])
def test_far_below_the_limit_the_time_went_elsewhere(share: float, bound: str) -> None:
    assert OVERHEAD_SHARE == 0.1
    assert place(1e12, 1e9, 10 / share, ROOF).bound == bound


def test_a_call_that_beats_its_limit_is_told_by_its_ratio() -> None:
    assert place(1e12, 1e9, 5.0, ROOF).ratio == pytest.approx(2.0)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)])
def test_nothing_above_zero_is_no_place(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        place(*wrong, ROOF)
