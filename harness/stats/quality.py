"""Quality as a test: the metric's interval, and whether a variant kept it, on the same examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.stats.ranks import areas
from harness.stats.resampling import FEWEST, bootstrap_mean

Scores = NDArray[np.floating[Any]]

Method = Literal["Bonett-Price", "paired bootstrap", "paired t", "DeLong"]
Interval = Callable[[int], tuple[float, float]]  # of so many examples like these

MAX_NEEDED = 10**9  # examples; a test that would take more is not going to be run


class Kept(StrEnum):
    """What the paired interval allows to say about a drop in quality."""

    KEPT = "kept"
    LOST = "lost"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Mean:
    """A metric's value with its 95 % interval over n examples."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class QualityVerdict:
    """A paired comparison of a variant with its baseline.

    Attributes:
        change: variant minus baseline, turned so that negative is always worse; ``low``/``high`` its interval.
        flips: share of examples whose score changed; None for a metric of ranks, where every score may.
        n: examples compared.
        n_needed: for ``inconclusive``, about how many examples would decide at the observed change and flip
            rate; None where no number would (the change sits on the margin) or one example tells no spread.
        method: how the interval came about.
        mcnemar_p: of right/wrong scores, how likely flips as uneven as these are where both sides are equally good.
    """

    verdict: Kept
    change: float
    low: float
    high: float
    flips: float | None
    n: int
    n_needed: int | None = None
    method: Method = "Bonett-Price"
    mcnemar_p: float | None = None


def mean_score(scores: Scores, confidence: float = 0.95) -> Mean:
    """Return the mean of n scores with its interval.

    Right/wrong scores get Wilson's interval (Wilson 1927), others Student's t.
    """
    n = len(scores)
    if n == 0:
        raise ValueError("no scores")
    if _binary(scores):
        ci = stats.binomtest(int(scores.sum()), n).proportion_ci(confidence, method="wilson")
        return Mean(float(scores.mean()), float(ci.low), float(ci.high), n)
    half = _t_half(scores, confidence)
    value = float(scores.mean())
    return Mean(value, value - half, value + half, n)


def rank_mean(scores: Scores, targets: NDArray[Any], confidence: float = 0.95) -> Mean:
    """Return the area under the ROC curve with DeLong's interval; raises ValueError where one class is missing."""
    found = areas([scores], targets)
    half = _z(confidence) * found.error(1.0)
    value = float(found.values[0])
    return Mean(value, max(value - half, 0.0), min(value + half, 1.0), len(scores))


def quality_verdict(
    baseline: Scores,
    variant: Scores,
    margin: float,
    *,
    higher_is_better: bool = True,
    confidence: float = 0.95,
) -> QualityVerdict:
    """Test whether the variant's mean score is no worse than the baseline's by more than ``margin``.

    Args:
        baseline, variant: shape (n,), the scores of the same examples in the same order.
        margin: the largest acceptable drop, in the score's unit.

    ``kept`` when the paired interval of the change lies above −margin, ``lost`` when it lies below, else
    ``inconclusive``. Right/wrong scores use the Laplace-adjusted Wald interval for paired proportions
    (Bonett & Price, J. Educational and Behavioral Statistics 37, 2012), others the bootstrap over examples, paired
    (few of them, Student's t). Raises ValueError when the two sides are not the same examples.
    """
    _require_pairs(baseline, variant)
    sign = 1.0 if higher_is_better else -1.0
    difference = sign * (np.asarray(variant, dtype=np.float64) - np.asarray(baseline, dtype=np.float64))
    n, change = len(difference), float(difference.mean())
    flips = float((difference != 0).mean())
    if _binary(baseline) and _binary(variant):
        gained, dropped = int((difference > 0).sum()), int((difference < 0).sum())

        def interval(examples: int) -> tuple[float, float]:
            return _bonett_price(gained * examples / n, dropped * examples / n, examples, confidence)

        return _concluded(interval, margin, change, n, flips=flips, mcnemar_p=mcnemar(gained, dropped))
    if n < FEWEST:
        half = _t_half(difference, confidence)
        return _concluded(_scaled(change, change - half, change + half, n), margin, change, n, "paired t", flips)
    low, high = bootstrap_mean(difference, confidence)
    return _concluded(_scaled(change, low, high, n), margin, change, n, "paired bootstrap", flips)


def rank_verdict(
    baseline: Scores, variant: Scores, targets: NDArray[Any], margin: float, confidence: float = 0.95
) -> QualityVerdict:
    """Test whether the variant's area under the ROC curve is no smaller than the baseline's by more than ``margin``.

    The interval of the difference is DeLong's, whose covariance knows that both saw the same examples. Raises
    ValueError when they did not, or where one class is missing.
    """
    _require_pairs(baseline, variant)
    found = areas([baseline, variant], targets)
    change = float(found.values[1] - found.values[0])
    half = _z(confidence) * found.error(-1.0, 1.0)
    n = len(baseline)
    return _concluded(_scaled(change, change - half, change + half, n), margin, change, n, "DeLong", None)


def mcnemar(gained: int, dropped: int) -> float:
    """Return the exact two-sided p-value of McNemar's test from the examples that only one side got right.

    Binomial with one half (Q. McNemar, Psychometrika 12, 1947; exact form after B. Everitt, *The Analysis of
    Contingency Tables*, 1977). It asks whether there is any difference; the margin asks whether it matters.
    """
    flipped = gained + dropped
    return float(stats.binomtest(gained, flipped).pvalue) if flipped else 1.0


def _require_pairs(baseline: Scores, variant: Scores) -> None:
    if len(baseline) != len(variant) or len(baseline) == 0:
        raise ValueError(f"needs the same examples on both sides, got {len(baseline)} and {len(variant)}")


def _concluded(
    interval: Interval,
    margin: float,
    change: float,
    n: int,
    method: Method = "Bonett-Price",
    flips: float | None = None,
    mcnemar_p: float | None = None,
) -> QualityVerdict:
    low, high = interval(n)
    verdict = _judge(low, high, margin)
    needed = _n_needed(interval, margin, n) if verdict is Kept.INCONCLUSIVE else None
    return QualityVerdict(verdict, change, low, high, flips, n, needed, method, mcnemar_p)


def _scaled(change: float, low: float, high: float, n: int) -> Interval:
    """Return how an interval of n examples narrows with more of them: with the root of their number."""

    def interval(examples: int) -> tuple[float, float]:
        by = math.sqrt(n / examples)
        return change - (change - low) * by, change + (high - change) * by

    return interval


def _judge(low: float, high: float, margin: float) -> Kept:
    return Kept.KEPT if low > -margin else Kept.LOST if high < -margin else Kept.INCONCLUSIVE


def _n_needed(interval: Interval, margin: float, n: int) -> int | None:
    """Return the smallest number of examples, by bisection, whose interval decides; None past a billion."""
    undecided, decided = n, 2 * n
    while _judge(*interval(decided), margin) is Kept.INCONCLUSIVE:
        if decided > MAX_NEEDED:
            return None
        undecided, decided = decided, 2 * decided
    while decided - undecided > 1:
        middle = (undecided + decided) // 2
        if _judge(*interval(middle), margin) is Kept.INCONCLUSIVE:
            undecided = middle
        else:
            decided = middle
    return decided


def _binary(scores: Scores) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _z(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2))


def _t_half(values: Scores, confidence: float) -> float:
    n = len(values)
    if n < 2:
        return math.inf
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(stats.t.ppf(0.5 + confidence / 2, df=n - 1)) * error


def _bonett_price(gained: float, dropped: float, n: int, confidence: float) -> tuple[float, float]:
    """Return the interval of the change from the numbers of examples gained and dropped."""
    up, down = (gained + 1) / (n + 2), (dropped + 1) / (n + 2)
    half = _z(confidence) * math.sqrt(max(up + down - (up - down) ** 2, 0.0) / (n + 2))
    return up - down - half, up - down + half
