"""Estimates with intervals: a speed-up from rounds, a percentile from samples.

One idea serves every timing figure. Observations of one process are not independent: they share its memory
layout, its thread placement and the host's mood of the minute. So they are first reduced to one number a
*unit*, and the interval is Student's t over the units. A unit is a replicate (a fresh set of processes) when
there are at least three, so the interval covers what another start of the processes would show (Kalibera &
Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013). With fewer replicates a unit is a batch of
consecutive rounds (batch means; Law & Carson, Operations Research 27, 1979), and the interval speaks about
these very processes only: its scope says ``process``.

Why not the bootstrap over replicates, then rounds: with 3 to 5 replicates it is far too narrow; the table in
docs/measurement.md shows its coverage beside this one's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.floating[Any]]
Scope = Literal["host", "process"]

MIN_REPLICATES = 3
MIN_BATCHES = 4
MAX_BATCHES = 5  # longer batches are less dependent on each other
# A run stops when its interval is narrow, so it stops too early when the spread is small by luck; that costs up to
# two points of coverage. A level this much stricter makes up for it (docs/measurement.md).
STOPPING_ALLOWANCE = 0.7
ROUNDS_PER_BATCH = 4  # at least, when replicates are too few
MIN_CLEAN_ROUNDS = 3
TAIL_EXPECTED = 10  # samples expected beyond a percentile in each unit before it is reported


@dataclass(frozen=True)
class Estimate:
    """A value with its two-sided interval.

    Attributes:
        value, low, high: in the quantity's own unit; ``low <= value <= high``.
        units: independent units the interval rests on.
        n: observations behind them (rounds, or samples).
        scope: ``host`` when units are replicates, ``process`` when they are batches of the same processes.
    """

    value: float
    low: float
    high: float
    units: int
    n: int
    scope: Scope
    confidence: float = 0.95

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width on the log scale; for small values the relative half-width."""
        if self.low <= 0 or not math.isfinite(self.high):
            return math.inf
        return 0.5 * math.log(self.high / self.low)


@dataclass(frozen=True)
class NotEnough:
    """No estimate, and what it would have taken."""

    reason: str


def speedup(log_ratios: Sequence[Floats], confidence: float = 0.95) -> Estimate | NotEnough:
    """Estimate t_baseline / t_variant.

    Args:
        log_ratios: one array a replicate; each element is a round's
            ``log(median of the baseline's block) − log(median of the variant's block)``, in time order.
        confidence: two-sided level that the interval holds when the run stopped on its width. The quantile used
            is that of ``1 − 0.7 (1 − confidence)``: stopping early when the spread is small by luck costs the rest.

    Returns:
        The exponential of the mean over units of the median over the unit's rounds, with the t interval over
        units; above 1 means faster. NotEnough with fewer than three replicates and fewer than 16 rounds.

    Raises ValueError for a ratio that is not finite.
    """
    if not all(np.isfinite(r).all() for r in log_ratios):
        raise ValueError("a log ratio is not finite")
    units, scope = _units(log_ratios)
    if len(units) < MIN_REPLICATES:
        return NotEnough(_shortage(log_ratios, MIN_BATCHES * ROUNDS_PER_BATCH, "rounds"))
    medians = [float(np.median(unit)) for unit in units]
    level = 1 - STOPPING_ALLOWANCE * (1 - confidence)
    return replace(_log_t(medians, sum(len(u) for u in units), scope, level), confidence=confidence)


def stretched(estimate: Estimate, share: float) -> Estimate:
    """Widen a speed-up's interval for rounds in which others had ``share`` of the time in which the cores were busy.

    Let the scheduler give us slices of length o and others slices of length p in turn, share = p / (o + p). The median
    call is interrupted only if calls last at least o / 2, and then takes p longer: it is stretched by at most
    1 + 2 p / o = (1 + share) / (1 − share). Shorter calls slip between the interruptions, so the error does not cancel
    in the ratio, and each bound is moved by that factor. The interval cannot show it by itself: the error is the same
    in every replicate.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    factor = (1 + share) / (1 - share)
    return replace(estimate, low=estimate.low / factor, high=estimate.high * factor)


def percentile(samples: Sequence[Floats], q: float, confidence: float = 0.95) -> Estimate | NotEnough:
    """Estimate a percentile of positive samples, such as a latency in seconds.

    Args:
        samples: one array a replicate, in time order.
        q: in (0, 1), such as 0.95.

    Returns:
        The geometric mean over units of the unit's percentile (median-unbiased: type 8 of Hyndman & Fan, The
        American Statistician 50, 1996), with the t interval over units on the log scale. NotEnough where fewer
        than ten samples of a unit are expected beyond it: a p99 of 50 samples is their maximum under another
        name. With fewer than three replicates the batches are made long enough for that.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie in (0, 1), got {q}")
    # The median of a unit is meaningful from any number of samples; tails are not.
    needed = 1 if q == 0.5 else math.ceil(round(TAIL_EXPECTED / min(q, 1 - q), 9))
    per_batch = max(needed, ROUNDS_PER_BATCH)
    units, scope = _units(samples, per_batch)
    if len(units) < MIN_REPLICATES:
        return NotEnough(f"p{100 * q:g} {_shortage(samples, MIN_BATCHES * per_batch, 'samples')}")
    smallest = min(len(unit) for unit in units)
    if smallest < needed:
        return NotEnough(f"p{100 * q:g} needs {needed} samples a replicate, has {smallest}")
    logs = [float(np.log(np.quantile(unit, q, method="median_unbiased"))) for unit in units]
    return _log_t(logs, sum(len(u) for u in units), scope, confidence)


def _shortage(series: Sequence[Floats], observations: int, noun: str) -> str:
    replicates, total = sum(len(s) > 0 for s in series), sum(len(s) for s in series)
    return f"needs {MIN_REPLICATES} replicates or {observations} {noun}, has {replicates} and {total}"


def _units(series: Sequence[Floats], per_batch: int = ROUNDS_PER_BATCH) -> tuple[list[Floats], Scope]:
    """Return replicates as units when there are enough, else batches of consecutive observations.

    A batch never spans two replicates and has at least ``per_batch`` observations, or its whole replicate.
    """
    series = [np.asarray(s, dtype=np.float64) for s in series if len(s)]
    if len(series) >= MIN_REPLICATES:
        return list(series), "host"
    total = sum(len(s) for s in series)
    batches = min(MAX_BATCHES, total // per_batch)
    if batches < MIN_BATCHES:
        return [], "process"
    units: list[Floats] = []
    for s in series:
        share = max(1, min(round(batches * len(s) / total), len(s) // per_batch))
        units.extend(np.array_split(s, share))
    return units, "process"


def _log_t(logs: Sequence[float], n: int, scope: Scope, confidence: float) -> Estimate:
    center = float(np.mean(logs))
    error = float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    half = float(stats.t.ppf(0.5 + confidence / 2, df=len(logs) - 1)) * error
    return Estimate(
        value=math.exp(center),
        low=math.exp(center - half),
        high=math.exp(center + half),
        units=len(logs),
        n=n,
        scope=scope,
        confidence=confidence,
    )


def log_ratios(baseline: Mapping[int, float], variant: Mapping[int, float]) -> Floats:
    """Return ``log(baseline / variant)`` of one replicate's rounds that both have, in order of the round.

    Args:
        baseline, variant: round number → the median time of that side's block.
    """
    rounds = sorted(baseline.keys() & variant.keys())
    return np.array([math.log(baseline[r] / variant[r]) for r in rounds], dtype=np.float64)


def prefer_clean(clean: Sequence[Floats], everything: Sequence[Floats]) -> tuple[Sequence[Floats], bool]:
    """Return the clean rounds when every replicate has at least three, else all rounds; and which it was."""
    if clean and min(len(c) for c in clean) >= MIN_CLEAN_ROUNDS:
        return clean, True
    return everything, False


def throughput(samples: Sequence[Floats], batch_size: int, confidence: float = 0.95) -> Estimate | NotEnough:
    """Estimate examples a second of a closed loop.

    Args:
        samples: one array of latencies in seconds a replicate, in time order.
        batch_size: examples in a call.

    Returns:
        The geometric mean over units of ``batch_size × calls / total seconds``, with the t interval over units.
    """
    units, scope = _units(samples)
    if len(units) < MIN_REPLICATES:
        return NotEnough(f"needs {MIN_REPLICATES} replicates, or more samples in these")
    logs = [math.log(batch_size * len(unit) / float(unit.sum())) for unit in units]
    return _log_t(logs, sum(len(u) for u in units), scope, confidence)
