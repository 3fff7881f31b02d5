from __future__ import annotations

import pytest

from harness.blocks import LEAST_CALLS, LEAST_CALLS_S, MAX_CALLS, calls_for, turn_s


@pytest.mark.parametrize(
    ("call_s", "calls"),
    [
        (0.003, 10),  # fast: as many as fill the block
        (0.0, MAX_CALLS),
        (0.02, LEAST_CALLS),  # slower: the untimed call shall not be half of it
        (0.06, LEAST_CALLS),
        (0.1, 5),
        (0.2, 2),  # but a block stays short
        (0.6, 1),
        (30.0, 1),
    ],
)
def test_a_block_of_slow_calls_has_a_few_and_stays_short(call_s: float, calls: int) -> None:
    assert calls_for(call_s, 0.03) == calls
    assert call_s > LEAST_CALLS_S or calls == MAX_CALLS or calls * call_s <= LEAST_CALLS_S


@pytest.mark.parametrize("call_s", [0.0005, 0.003, 0.02, 0.06, 0.1, 0.2, 0.6, 30.0])
def test_a_turn_is_about_its_block_and_the_untimed_call(call_s: float) -> None:
    assert turn_s(call_s, 0.03) == pytest.approx((1 + calls_for(call_s, 0.03)) * call_s, rel=0.35)
