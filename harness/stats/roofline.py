"""The roofline: what a call could attain at most on this host, and what holds it back.

S. Williams, A. Waterman, D. Patterson: *Roofline: an insightful visual performance model for multicore architectures*,
Communications of the ACM 52 (4), 2009: attainable operations a second = min(peak, intensity × bandwidth), where the
intensity is operations a byte moved. As in A. Ilic, F. Pratas, L. Sousa: *Cache-aware Roofline model*, IEEE Computer
Architecture Letters 13 (1), 2014, the bandwidth is that of the level that can hold what a call moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Below this share of the limit neither arithmetic nor memory explains the time.
OVERHEAD_SHARE = 0.1


class Bound(StrEnum):
    """What holds a call back."""

    ARITHMETIC = "arithmetic"
    MEMORY = "memory"
    OVERHEAD = "overhead"


@dataclass(frozen=True)
class Roof:
    """One precision's roof: operations a second, bytes a second of one level, and that level's name."""

    flops_per_s: float
    bytes_per_s: float
    level: str = "memory"

    @property
    def ridge(self) -> float:
        """The intensity (operations a byte) at which both limits are equal."""
        return self.flops_per_s / self.bytes_per_s

    def limit(self, intensity: float) -> float:
        """Return the attainable operations a second at an intensity."""
        return min(self.flops_per_s, intensity * self.bytes_per_s)


@dataclass(frozen=True)
class Placed:
    """Where a call stands under the roof.

    Attributes:
        intensity: operations a byte.
        attained_flops_per_s: counted operations over the time of a call.
        limit_flops_per_s: what the roof allows at this intensity.
        side: ``arithmetic`` right of the ridge, ``memory`` left of it.
    """

    intensity: float
    attained_flops_per_s: float
    limit_flops_per_s: float
    side: Bound

    @property
    def ratio(self) -> float:
        """Attained over limit; above 1 an assumption does not hold."""
        return self.attained_flops_per_s / self.limit_flops_per_s

    @property
    def bound(self) -> Bound:
        """What holds the call back: the side it stands on, or overhead below ``OVERHEAD_SHARE`` of the limit."""
        return Bound.OVERHEAD if self.ratio < OVERHEAD_SHARE else self.side


def place(flops: float, moved_bytes: float, seconds: float, roof: Roof) -> Placed:
    """Place one call, which does ``flops``, moves ``moved_bytes`` and takes ``seconds``, under a roof; all above 0."""
    if min(flops, moved_bytes, seconds, roof.flops_per_s, roof.bytes_per_s) <= 0:
        raise ValueError("a roofline needs work, time and peaks above 0")
    intensity = flops / moved_bytes
    side = Bound.ARITHMETIC if intensity >= roof.ridge else Bound.MEMORY
    return Placed(intensity, flops / seconds, roof.limit(intensity), side)
