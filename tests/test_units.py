from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import units


@pytest.mark.parametrize(("value", "text"), [(0.00125, "1.25 mJ"), (350.0, "350 J"), (2e-6, "2.00 µJ")])
def test_energy_has_three_digits_and_the_fitting_unit(value: float, text: str) -> None:
    assert units.energy(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ns"),
        (1.234e-9, "1.23 ns"),
        (45.6e-6, "45.6 µs"),
        (1.234e-3, "1.23 ms"),
        (0.99999, "1.00 s"),
        (0.1234, "123 ms"),
        (12.34, "12.3 s"),
        (1234.0, "1234 s"),
        (-1.5e-3, "-1.50 ms"),
    ],
)
def test_a_duration_has_three_digits_and_the_fitting_unit(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (45_300_000, "45.3 MB"),
        (999_999_999, "1.00 GB"),
        (-2e6, "-2.00 MB"),
    ],
)
def test_a_size_has_decimal_prefixes(value: float, text: str) -> None:
    assert units.size(value) == text


def test_a_ratio_and_a_share_are_written_with_their_signs() -> None:
    assert units.ratio(5.4123) == "5.41×"
    assert units.ratio(0.9) == "0.900×"
    assert units.percent(0.013) == "1.3 %"
    assert units.percent(0.5, digits=0) == "50 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3600, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_a_wait_is_written_in_two_units_at_most(value: float, text: str) -> None:
    assert units.span(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_shown_as_such(value: float) -> None:
    assert str(value) in units.seconds(value)
    assert units.ratio(value) == f"{value}×"


SCALE = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@given(st.floats(1e-9, 1e3))
def test_a_duration_reads_back_within_half_a_percent(value: float) -> None:
    number, unit = units.seconds(value).split()
    assert float(number) * SCALE[unit] == pytest.approx(value, rel=0.0051)
