"""How long a worker's turn is."""

from __future__ import annotations

MAX_CALLS = 5000
# The untimed call at the start of a block is as long as a timed one, so a block of one call would waste half. Longer
# blocks of slow calls cost few rounds' worth of time up to this many seconds.
LEAST_CALLS, LEAST_CALLS_S = 8, 0.5


def calls_for(call_s: float, block_s: float) -> int:
    """Return how many calls of ``call_s`` seconds make a block of about ``block_s``, and of slow calls a few more."""
    call_s = max(call_s, 1e-9)
    least = max(1, min(LEAST_CALLS, int(LEAST_CALLS_S / call_s)))
    return min(max(round(block_s / call_s), least), MAX_CALLS)


def turn_s(call_s: float, block_s: float) -> float:
    """Return about how many seconds a turn takes: one untimed call and a block."""
    return call_s + max(block_s, call_s, min(LEAST_CALLS * call_s, LEAST_CALLS_S))
