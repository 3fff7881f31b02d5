"""A host's noise from an A/A of one artifact in several processes: its variance components and its floor.

The model of one replicate, with P processes that take turns in R rounds, each time a median of a block::

    log t[r, p] = round effect[r] + process offset[p] + residual[r, p]

What a whole round shares (the host's mood of the moment) cancels in the difference of two processes. An offset
belongs to a process for its whole life; only fresh processes show another. The residual is a block's own.

Both components are estimated as the product's estimate feels them, by medians. Residuals of a shared host can have
tails so long that their plain standard deviation foretells three times the spread that medians really have
(docs/measurement.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.stats.estimate import Floats, NotEnough

# The asymptotic variance of a median of n normal values is π/2 of that of their mean.
MEDIAN_INEFFICIENCY = math.pi / 2
# Makes the median absolute deviation of normal values their standard deviation, with 37 % of its efficiency; with n
# values it comes out too small by (n - 0.8) / n (Rousseeuw & Croux, JASA 88, 1993; Croux & Rousseeuw, 1992).
MAD_TO_SD = 1.4826
MAD_EFFICIENCY = 0.37
MAD_SHORTFALL = 0.8


@dataclass(frozen=True)
class Components:
    """Standard deviations on the log scale, so 0.01 is one percent.

    Attributes:
        within: of the residuals, a block against its process and its round; of normal values whose median
            spreads as theirs does.
        between: of the process offsets; 0 when the processes differ no more than their residuals explain.
        between_low, between_high: 95 % interval of ``between``.
        processes, rounds: processes over all replicates, and rounds over all replicates, behind them.
        replicates: sets of processes.
    """

    within: float
    between: float
    between_low: float
    between_high: float
    processes: int
    rounds: int
    replicates: int


def components(tables: Sequence[Floats], confidence: float = 0.95) -> Components | NotEnough:
    """Estimate the variance components by the method of moments.

    Args:
        tables: one a replicate, shape (rounds, processes): the log of each block's median time.

    σ_w is that of normal values with the same median absolute deviation: over all pairs of processes of a
    replicate, of their differences from the pair's own median, divided by √2. The mean square of the pairs'
    medians has the expectation 2σ_b² + (π/2) · 2σ_w² / R; solved for σ_b², and 0 where that comes out negative.
    This is the method of moments of one-way analysis of variance (Searle, Casella & McCulloch, "Variance
    Components", 1992, chapter 3) with medians in the place of means. The interval of σ_b is that of Williams
    (Biometrika 49, 1962), nearly exact there; here it holds the truth in 95 to 99 of 100 simulated studies, more
    often the smaller σ_b is (tests/stats/test_noise.py). NotEnough without a replicate of two processes and two
    rounds.
    """
    tables = [np.asarray(t, dtype=np.float64) for t in tables]
    tables = [t for t in tables if min(t.shape) >= 2]
    if not tables:
        return NotEnough("needs a replicate with at least two processes and two rounds")
    if not all(np.isfinite(t).all() for t in tables):
        raise ValueError("a log time is not finite")
    pairs = [_pair_differences(t) for t in tables]
    medians = [np.median(d, axis=0) for d in pairs]
    deviations = [
        np.abs(d - m).ravel() * len(d) / (len(d) - MAD_SHORTFALL) for d, m in zip(pairs, medians, strict=True)
    ]
    within = MAD_TO_SD * float(np.median(np.concatenate(deviations))) / math.sqrt(2)
    # The mean over pairs of half the squared difference is the variance of the offsets, P - 1 degrees of freedom.
    degrees = np.array([t.shape[1] - 1 for t in tables])
    squares = np.array([float(np.mean(m**2)) / 2 for m in medians])
    rounds = np.array([len(t) for t in tables])
    freedom = int(degrees.sum())
    offsets_variance = float((squares * degrees).sum()) / freedom
    median_variance = MEDIAN_INEFFICIENCY * within**2 * float((degrees / rounds).sum()) / freedom
    residual_freedom = MAD_EFFICIENCY * float(((rounds - 1) * degrees).sum())
    low, high = _williams(offsets_variance, median_variance, freedom, residual_freedom, confidence)
    return Components(
        within=within,
        between=_root(offsets_variance - median_variance),
        between_low=_root(low),
        between_high=_root(high),
        processes=sum(t.shape[1] for t in tables),
        rounds=int(rounds.sum()),
        replicates=len(tables),
    )


def _pair_differences(table: Floats) -> Floats:
    """Return the differences of all pairs of columns, shape (rounds, pairs)."""
    first, second = np.triu_indices(table.shape[1], k=1)
    return np.asarray(table[:, first] - table[:, second])


def _williams(
    total: float, residual: float, freedom: float, residual_freedom: float, confidence: float
) -> tuple[float, float]:
    """Return the interval of ``total - residual``, two estimated variances; both ends may be negative."""
    tail = (1 - confidence) / 2

    def bound(probability: float) -> float:
        f = float(stats.f.ppf(probability, freedom, residual_freedom))
        chi2 = float(stats.chi2.ppf(probability, freedom))
        return freedom * (total - residual * f) / chi2

    return bound(1 - tail), bound(tail)


def _root(variance: float) -> float:
    return math.sqrt(max(variance, 0.0))


def floor(within: float, between: float, replicates: float, rounds: float, confidence: float = 0.95) -> float:
    """Return the smallest difference that a comparison of two trials resolves, relative (0.02 is two percent).

    Args:
        within, between: standard deviations as in ``Components``.
        replicates: sets of fresh processes of the comparison.
        rounds: rounds in each.

    A replicate's estimate is the median over n rounds of the log ratio of two processes. Its variance is that
    of two offsets, 2σ_b², plus that of the median of n differences of residuals, (π/2) · 2σ_w² / n (asymptotic
    efficiency of the median for normal values; Lehmann, "Elements of Large-Sample Theory", 1999, section 2.4).
    The mean over k replicates divides it by k. The floor is z(0.975) times the square root of that, as
    exp(·) − 1: an A/A pair exceeds it in about 5 % of experiments, and a true difference of just this size is
    seen in half of them.
    """
    if replicates <= 0 or rounds <= 0:
        raise ValueError(f"replicates and rounds must be positive, got {replicates} and {rounds}")
    if within < 0 or between < 0:
        raise ValueError(f"standard deviations must not be negative, got {within} and {between}")
    variance = (2 * between**2 + MEDIAN_INEFFICIENCY * 2 * within**2 / rounds) / replicates
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    return math.expm1(z * math.sqrt(variance))
