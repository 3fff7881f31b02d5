"""The Pareto front of quality against speed-up: the trials that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def pareto_front(speedup: Sequence[float], quality: Sequence[float], *, higher_is_better: bool = True) -> list[bool]:
    """Return for each point whether no other is at least as good in both and better in one.

    Args:
        speedup: n ratios, above 1 is faster.
        quality: n values of one metric.
        higher_is_better: the metric's direction.

    Equal points stand on the front together; a point with a missing coordinate never does. Raises ValueError
    when the two sides differ in length.
    """
    if len(speedup) != len(quality):
        raise ValueError(f"needs as many qualities as speed-ups, got {len(quality)} and {len(speedup)}")
    x = np.asarray(speedup, dtype=np.float64)
    y = np.asarray(quality, dtype=np.float64) * (1.0 if higher_is_better else -1.0)
    complete = ~(np.isnan(x) | np.isnan(y))
    front = []
    for own_x, own_y, whole in zip(x, y, complete, strict=True):
        as_good = complete & (x >= own_x) & (y >= own_y)
        better = as_good & ((x > own_x) | (y > own_y))
        front.append(bool(whole and not better.any()))
    return front


def on_front(rows: pd.DataFrame, *, higher_is_better: bool = True) -> pd.Series[bool]:
    """Return which trials of one experiment stand on the front; the baseline counts with its speed-up of 1.

    Point estimates only: neighbors on the front may still not be told apart, which is what verdicts are for.
    """
    speedup = rows["speedup"].astype(float).mask(rows["role"] == "baseline", 1.0)
    front = pareto_front(speedup.tolist(), rows["quality"].astype(float).tolist(), higher_is_better=higher_is_better)
    return pd.Series(front, index=rows.index, dtype=bool)
