"""The bootstrap: an interval of a mean from resampled examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 4000
FEWEST = 20  # examples; resampling fewer cannot show how far their mean may stray
AT_ONCE = 2_000_000  # drawn numbers that are held in memory


def bootstrap_mean(values: NDArray[np.floating[Any]], confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of n values, ``FEWEST`` at the least.

    The percentile interval, its percentiles moved outward so that it is as wide as Student's t where the values are
    normal (T. Hesterberg: *What Teachers Should Know About the Bootstrap*, The American Statistician 69(4), 2015,
    section 4.4): plain percentiles are too narrow by √((n−1)/n) and by the normal's thinner tail. The same n and seed
    draw the same examples, so an interval never changes between two readings of a run. Raises ValueError for fewer.
    """
    n = len(values)
    if n < FEWEST:
        raise ValueError(f"needs {FEWEST} examples, got {n}")
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    rng = np.random.default_rng([seed, n])
    rows = max(1, AT_ONCE // n)
    means = [
        values[rng.integers(0, n, (min(rows, RESAMPLES - start), n), dtype=np.int32)].mean(axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    quantile = float(stats.t.ppf(0.5 + confidence / 2, df=n - 1)) * math.sqrt(n / (n - 1))
    tail = float(stats.norm.cdf(-quantile))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)
