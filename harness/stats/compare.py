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


def speed_verdict(estimate: Estimate | NotEnough, margin: float) -> SpeedVerdict:
    """Judge a speed-up against ``±margin`` (relative, such as 0.02).

    ``faster`` or ``slower`` when the whole interval lies outside the margin, ``same`` when it lies inside,
    else ``inconclusive``. Bounds are ``1 + margin`` and its reciprocal, so that swapping the two sides swaps
    the verdict. An estimate of scope ``process`` is held to at least five percent and never says ``same``
    below it.
    """
    if margin < 0:
        raise ValueError(f"margin must not be negative, got {margin}")
    if isinstance(estimate, NotEnough):
        return SpeedVerdict(Speed.INCONCLUSIVE, estimate.reason)
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
