"""From an interval to a verdict on speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from harness.stats.estimate import Estimate, NotEnough

# A pair of processes keeps an offset of its own of up to a few percent (docs/measurement.md): no verdict
# below this difference may rest on one or two sets of processes.
PROCESS_MARGIN = 0.05


class Speed(StrEnum):
    """What the interval of a speed-up allows to say."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class SpeedVerdict:
    """The verdict, with the reason where it is ``inconclusive``."""

    verdict: Speed
    reason: str = ""


def speed_verdict(estimate: Estimate | NotEnough, margin: float, floor: float | None = None) -> SpeedVerdict:
    """Judge a speed-up against ``±margin`` (relative, such as 0.02) and the host's noise floor.

    ``faster`` or ``slower`` when the whole interval lies outside the margin, ``same`` when it lies inside,
    else ``inconclusive``. Bounds are ``1 + margin`` and its reciprocal, so that swapping the two sides swaps
    the verdict. An estimate of scope ``process`` is held to at least five percent and never says ``same``
    below it.

    The floor (relative; None when it was never measured) only takes claims away: ``faster`` and ``slower``
    need an estimate beyond it, ``same`` a floor within the margin. It guards against an interval that came out
    narrow by luck: few replicates cannot show the spread that the host is known to have.
    """
    if margin < 0:
        raise ValueError(f"margin must not be negative, got {margin}")
    if floor is not None and floor < 0:
        raise ValueError(f"floor must not be negative, got {floor}")
    if isinstance(estimate, NotEnough):
        return SpeedVerdict(Speed.INCONCLUSIVE, estimate.reason)
    verdict = _by_interval(estimate, margin)
    return verdict if floor is None else _held_to_floor(verdict, estimate, margin, floor)


def _by_interval(estimate: Estimate, margin: float) -> SpeedVerdict:
    bound = math.log1p(margin)
    outer = math.log1p(max(margin, PROCESS_MARGIN)) if estimate.scope == "process" else bound
    low, high = math.log(estimate.low), math.log(estimate.high)
    if low > outer:
        return SpeedVerdict(Speed.FASTER)
    if high < -outer:
        return SpeedVerdict(Speed.SLOWER)
    inside = -bound <= low and high <= bound
    if inside and outer == bound:
        return SpeedVerdict(Speed.SAME)
    if estimate.scope == "process" and (inside or low > bound or high < -bound):
        return SpeedVerdict(
            Speed.INCONCLUSIVE,
            f"below {100 * PROCESS_MARGIN:.0f} % it takes at least 3 replicates to tell the variant from the process",
        )
    width = 100 * estimate.relative_half_width
    return SpeedVerdict(Speed.INCONCLUSIVE, f"interval of ±{width:.1f} % crosses the margin of {100 * margin:.1f} %")


def _held_to_floor(verdict: SpeedVerdict, estimate: Estimate, margin: float, floor: float) -> SpeedVerdict:
    """Take back a claim that this host cannot resolve."""
    difference = abs(math.log(estimate.value))
    if verdict.verdict in (Speed.FASTER, Speed.SLOWER) and difference <= math.log1p(floor):
        reason = (
            f"a difference of {100 * math.expm1(difference):.1f} % is not beyond this host's noise floor of "
            f"{100 * floor:.1f} %"
        )
        return SpeedVerdict(Speed.INCONCLUSIVE, reason)
    if verdict.verdict is Speed.SAME and floor > margin:
        reason = f"this host's noise floor of {100 * floor:.1f} % exceeds the margin of {100 * margin:.1f} %"
        return SpeedVerdict(Speed.INCONCLUSIVE, reason)
    return verdict
