"""Reads what a trial answered on each test example: scores, and predictions and targets where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.measure.quality import METRICS
from harness.schema import Record, Unmeasured
from harness.store import Run, read_table


@dataclass(frozen=True)
class Predictions:
    """Of n examples in order: scores, shape (n,); predictions and targets, shape (n,) or None.

    ``ranked``: the metric is made of how the scores order the examples, and is not their mean.
    """

    scores: NDArray[np.float64]
    predicted: NDArray[Any] | None = None
    targets: NDArray[Any] | None = None
    ranked: bool = False

    @property
    def classes(self) -> NDArray[Any] | None:
        """The predicted classes; None where predictions are no classes."""
        return self.predicted if self.predicted is not None and self.predicted.dtype.kind in "iub" else None


def predictions_of(run: Run, record: Record) -> Predictions | None:
    """Return a trial's predictions; None when quality was not measured."""
    quality = record.quality
    if isinstance(quality, Unmeasured):
        return None
    table = read_table(run.directory / quality.predictions)

    def column(name: str) -> NDArray[Any] | None:
        if name not in table.column_names:
            return None
        # A column of lists (several targets an example) has no comparison here.
        values = table.column(name).to_numpy()
        return None if values.dtype == object else values

    scores = np.asarray(table.column("score").to_numpy(), dtype=np.float64)
    ranked = quality.metric in METRICS and METRICS.get(quality.metric).paired == "rank"
    return Predictions(scores, column("prediction"), column("target"), ranked)
