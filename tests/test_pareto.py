"""The Pareto front: what no other beats in both."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pareto import on_front, pareto_front

VALUES = st.floats(0.01, 100) | st.just(math.nan)
POINTS = st.lists(st.tuples(VALUES, VALUES), max_size=12)


def test_a_point_beaten_in_both_is_not_on_the_front() -> None:
    assert pareto_front([1, 2, 4], [0.99, 0.90, 0.95]) == [True, False, True]


def test_where_less_is_better_the_front_turns() -> None:
    assert pareto_front([1, 2, 4], [5.0, 9.0, 7.0], higher_is_better=False) == [True, False, True]
    assert pareto_front([1, 2], [9.0, 5.0], higher_is_better=False) == [False, True]


def test_equal_points_stand_together_and_a_tie_in_one_is_decided_by_the_other() -> None:
    assert pareto_front([2, 2], [0.9, 0.9]) == [True, True]
    assert pareto_front([2, 3], [0.9, 0.9]) == [False, True]


def test_a_point_with_a_missing_coordinate_is_never_on_the_front_and_beats_nobody() -> None:
    assert pareto_front([1, math.nan, 9], [0.9, 1.0, math.nan]) == [True, False, False]


def test_two_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="as many"):
        pareto_front([1, 2], [0.9])


def test_the_baseline_counts_with_a_speed_up_of_one() -> None:
    rows = pd.DataFrame({"role": ["baseline", "variant"], "speedup": [None, 0.5], "quality": [0.9, 0.8]}, index=[7, 9])
    assert on_front(rows).to_dict() == {7: True, 9: False}


@given(POINTS, st.booleans())
def test_every_complete_point_is_on_the_front_or_beaten_by_one_that_is(
    points: list[tuple[float, float]], higher: bool
) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    front = pareto_front(x, y, higher_is_better=higher)
    sign = 1 if higher else -1
    for i, (a, b) in enumerate(points):
        if math.isnan(a) or math.isnan(b):
            assert not front[i]
        elif not front[i]:
            assert any(front[j] and x[j] >= a and sign * y[j] >= sign * b for j in range(len(points)))
