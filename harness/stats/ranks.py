"""The area under the ROC curve with its variance, of one model or of two on the same examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Areas:
    """Areas of k models on the same examples, shape (k,), and their covariance, shape (k, k).

    ``covariance`` is None where a class has a single example: it tells no spread.
    """

    values: Values
    covariance: Values | None

    def error(self, *weights: float) -> float:
        """Return the standard error of a weighted sum of the areas; infinite where nothing tells their spread."""
        if self.covariance is None:
            return math.inf
        # Below zero by rounding only, where all models order the examples alike.
        return math.sqrt(max(float(np.array(weights) @ self.covariance @ np.array(weights)), 0.0))


def areas(scores: Sequence[Values], targets: NDArray[Any]) -> Areas:
    """Return how often each model scores an example of class 1 above one of class 0, a tie being a half.

    Args:
        scores: of each model, shape (n,), the same examples in the same order.
        targets: shape (n,), 0 or 1.

    The covariance is that of E. DeLong, D. DeLong, D. Clarke-Pearson: *Comparing the areas under two or more correlated
    receiver operating characteristic curves*, Biometrics 44, 1988; its placements come from ranks, as X. Sun and W. Xu
    do it (*Fast implementation of DeLong's algorithm*, IEEE Signal Processing Letters 21(11), 2014), in n log n. Raises
    ValueError for other targets or where one class is missing.
    """
    positive = np.asarray(targets) == 1
    if not np.isin(targets, (0, 1)).all() or positive.all() or not positive.any():
        raise ValueError("needs targets of 0 and 1, and examples of both")
    ones, zeros = int(positive.sum()), int((~positive).sum())
    above, below = [], []
    for own in scores:
        everywhere = stats.rankdata(own)
        above.append((everywhere[positive] - stats.rankdata(own[positive])) / zeros)
        below.append(1.0 - (everywhere[~positive] - stats.rankdata(own[~positive])) / ones)
    values = np.array([placed.mean() for placed in above])
    if min(ones, zeros) < 2:
        return Areas(values, None)
    return Areas(values, np.atleast_2d(np.cov(above)) / ones + np.atleast_2d(np.cov(below)) / zeros)
