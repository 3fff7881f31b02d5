"""Quality metrics on host arrays. numpy only: a measured process must not load torch to be judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import InvalidOutputError
from harness.registry import Registry


class Metric(ABC):
    """A metric that is the mean of a score of each example, so that variants can be compared in pairs."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]

    @abstractmethod
    def predict(self, outputs: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        """Map the outputs of a batch (first axis n) to the n predictions that are kept."""

    @abstractmethod
    def score(self, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return the n scores of a batch."""


class Accuracy(Metric):
    """Top-1 accuracy from class scores of shape (n, classes) in the first output."""

    name = "accuracy"
    higher_is_better = True
    unit = "share"

    def predict(self, outputs: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        """Return the n class indices with the highest score."""
        if outputs[0].ndim != 2:
            raise InvalidOutputError(f"accuracy needs scores of shape (n, classes), got {outputs[0].shape}")
        return np.asarray(np.argmax(outputs[0], axis=1))

    def score(self, outputs: tuple[NDArray[Any], ...], targets: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 for a right and 0 for a wrong prediction."""
        return np.asarray(self.predict(outputs) == targets, dtype=np.float64)


METRICS: Registry[Metric] = Registry("metric")
METRICS.add(Accuracy.name, Accuracy())
