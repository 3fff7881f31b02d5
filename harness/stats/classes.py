"""What changed class by class: predictions that differ from the baseline's, and the class that lost most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 20  # examples of a class; one example more or less of fewer moves its recall by over 5 points


@dataclass(frozen=True)
class ClassChange:
    """A class whose recall changed by ``change`` (variant minus baseline) over its ``n`` examples."""

    label: int
    change: float
    n: int


def prediction_flips(baseline: NDArray[Any], variant: NDArray[Any]) -> float:
    """Return the share of examples that get another prediction; both of shape (n,), n at least 1."""
    if len(baseline) != len(variant) or len(baseline) == 0:
        raise ValueError(f"needs the same examples on both sides, got {len(baseline)} and {len(variant)}")
    return float((baseline != variant).mean())


def worst_class(
    baseline: NDArray[Any], variant: NDArray[Any], targets: NDArray[Any], fewest: int = FEWEST
) -> ClassChange | None:
    """Return the class with the largest drop in recall among those with enough examples; None without any.

    It is the worst of all classes, picked after the fact: it says where to look, and is no test.
    """
    labels, place, counts = np.unique(targets, return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts >= fewest)
    if not len(enough):
        return None
    gained = (variant == targets).astype(np.float64) - (baseline == targets)
    changes = np.bincount(place, weights=gained, minlength=len(labels)) / counts
    worst = enough[np.argmin(changes[enough])]
    return ClassChange(int(labels[worst]), float(changes[worst]), int(counts[worst]))
