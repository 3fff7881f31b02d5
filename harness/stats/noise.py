"""A host's noise from an A/A of one artifact in several processes: its variance components and its floor.

The model of one replicate, with P processes that take turns in R rounds, each time a median of a block::

    log t[r, p] = round effect[r] + process offset[p] + residual[r, p]

What a whole round shares (the host's mood of the moment) cancels in ratios and is fitted away. An offset
belongs to a process for its whole life; only fresh processes show another. The residual is a block's own.
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


@dataclass(frozen=True)
class Components:
    """Standard deviations on the log scale, so 0.01 is one percent.

    Attributes:
        within: of the residuals, a block against its process and its round.
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

    The mean squares of a two-way layout without repetition have the expectations σ_w² (residual) and
    σ_w² + R σ_b² (processes), so σ_b² = (MS_p − MS_e) / R, set to 0 where it comes out negative (Searle,
    Casella & McCulloch, "Variance Components", 1992, chapters 3 and 4). Sums of squares and degrees of freedom
    are added over replicates, each with round effects and processes of its own. The interval of σ_b is that of
    Williams (Biometrika 49, 1962), nearly exact. NotEnough without a replicate of two processes and two rounds.
    """
    tables = [np.asarray(t, dtype=np.float64) for t in tables]
    tables = [t for t in tables if min(t.shape) >= 2]
    if not tables:
        return NotEnough("needs a replicate with at least two processes and two rounds")
    if not all(np.isfinite(t).all() for t in tables):
        raise ValueError("a log time is not finite")
    process_ss = residual_ss = weighted_rounds = 0.0
    process_df = residual_df = 0
    for table in tables:
        rounds, processes = table.shape
        centered = table - table.mean(axis=1, keepdims=True)
        offsets = centered.mean(axis=0)
        process_ss += rounds * float((offsets**2).sum())
        residual_ss += float(((centered - offsets) ** 2).sum())
        process_df += processes - 1
        residual_df += (rounds - 1) * (processes - 1)
        weighted_rounds += rounds * (processes - 1)
    size = weighted_rounds / process_df  # R, or its mean where replicates have different numbers of rounds
    between_ms, residual_ms = process_ss / process_df, residual_ss / residual_df
    low, high = _williams(between_ms, residual_ms, process_df, residual_df, size, confidence)
    return Components(
        within=math.sqrt(residual_ms),
        between=_root((between_ms - residual_ms) / size),
        between_low=_root(low),
        between_high=_root(high),
        processes=sum(t.shape[1] for t in tables),
        rounds=sum(t.shape[0] for t in tables),
        replicates=len(tables),
    )


def _williams(
    between_ms: float, residual_ms: float, between_df: int, residual_df: int, size: float, confidence: float
) -> tuple[float, float]:
    """Return the interval of σ_b²; both ends may be negative."""
    tail = (1 - confidence) / 2

    def bound(probability: float) -> float:
        f = float(stats.f.ppf(probability, between_df, residual_df))
        chi2 = float(stats.chi2.ppf(probability, between_df))
        return between_df * (between_ms - residual_ms * f) / (size * chi2)

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
