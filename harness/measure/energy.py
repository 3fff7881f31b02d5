"""Joules of a window from readings of a hardware counter: never from assumed watts, and never 0 for unknown."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from harness.schema import Energy, Unmeasured

# A reading may be as old as the counter's period, at both ends of the window: this many keep that below 10 %.
MIN_PERIODS = 20


class EnergyCounter(Protocol):
    """A counter of the hardware that only grows."""

    @property
    def source(self) -> str:
        """Which counter it is."""

    @property
    def scope(self) -> str:
        """What it counts beside the trial's own work."""

    @property
    def period_s(self) -> float:
        """How often the hardware updates it."""

    def joules(self) -> float | Unmeasured:
        """Return joules from any fixed beginning, or why it cannot be read."""


def least_window_s(counter: EnergyCounter) -> float:
    """Return the shortest window in which the counter tells energy."""
    return MIN_PERIODS * counter.period_s


def energy_of(
    readings: Sequence[float | Unmeasured], counter: EnergyCounter, window_s: float, examples: int
) -> Energy | Unmeasured:
    """Return the energy of a window from the counter's readings in it, first to last, or why there is none."""
    values = []
    for reading in readings:
        if isinstance(reading, Unmeasured):
            return reading
        values.append(reading)
    least_s = least_window_s(counter)
    if window_s < least_s:
        return Unmeasured(
            f"the window of {window_s:.3g} s is too short for {counter.source}, which is updated every "
            f"{counter.period_s:g} s and needs {least_s:g} s; raise measure.utilization_s"
        )
    if len(values) < 2 or examples < 1:
        return Unmeasured(f"{len(values)} readings of {counter.source} and {examples} examples: too few")
    if any(later < earlier for earlier, later in itertools.pairwise(values)):
        return Unmeasured(f"the counter {counter.source} went back during the window: the driver was reloaded?")
    joules = values[-1] - values[0]
    if joules == 0:
        return Unmeasured(f"the counter {counter.source} did not move in {window_s:.3g} s; raise measure.utilization_s")
    return Energy(joules / examples, joules, window_s, examples, counter.source, counter.scope)
