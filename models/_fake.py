"""A model of known cost, for the fake backend: ``harness selftest`` and the tests. Not listed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.zoo import Model, Split, SplitName

CLASSES = 4
EXAMPLES = {"train": 64, "calibration": 16, "test": 96}


class Scale:
    """Returns its input times ``scale``; the cost of a call is added by the fake backend."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Map (n, 4) to (n, 4)."""
        return inputs * np.float32(self.scale)


def build(seed: int) -> Scale:
    """Return the module; nothing is trained."""
    del seed
    return Scale(1.0)


def data(split: SplitName) -> Split:
    """Return points of four classes, the largest coordinate being the class of about nine in ten."""
    rng = np.random.default_rng(["train", "calibration", "test"].index(split))
    targets = rng.integers(0, CLASSES, EXAMPLES[split])
    inputs = rng.normal(0.0, 0.4, (EXAMPLES[split], CLASSES)).astype(np.float32)
    inputs[np.arange(len(targets)), targets] += 1.0
    return Split((inputs,), targets)


MODEL = Model(
    name="_fake",
    task="classification",
    summary="known cost, for the selftest",
    build=build,
    data=data,
    metric="accuracy",
    source="generated",
    license="Apache-2.0",
)
