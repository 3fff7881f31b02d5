"""The highest rate at which something holds. Pure: what a rate does is asked of a function."""

from __future__ import annotations

import math
from collections.abc import Callable


def highest_rate(
    holds: Callable[[float], bool], start: float, *, step: float, resolution: float, most: int = 12
) -> float | None:
    """Return the highest rate found to hold, within ``resolution`` (0.05 is five percent); None when none held.

    From ``start`` up or down by ``step`` until the answer changes, at most ``most`` times, then by halves of the
    logarithm. What holds and does not hold by chance moves the result: it is an estimate.
    """
    low, high = _bracket(holds, start, step, most)
    if low is None or high is None:
        return low
    while high / low > 1.0 + resolution:
        middle = math.sqrt(low * high)
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _bracket(holds: Callable[[float], bool], start: float, step: float, most: int) -> tuple[float | None, float | None]:
    """Return a rate that holds and the next higher one that does not; None where there was none."""
    low = high = None
    rate = start
    for _ in range(most):
        if holds(rate):
            low, rate = rate, rate * step
        else:
            high, rate = rate, rate / step
        if low is not None and high is not None:
            break
    return low, high
