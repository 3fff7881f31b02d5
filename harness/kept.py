"""Predictions of a trial and of its baseline → the columns that say whether quality was kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.predictions import Predictions, predictions_of
from harness.schema import Quality, Record
from harness.stats.classes import prediction_flips, worst_class
from harness.stats.quality import Mean, QualityVerdict, mean_score, quality_verdict, rank_mean, rank_verdict
from harness.store import Run

VERDICT = ("change", "change_low", "change_high", "verdict", "flips", "n_needed", "method", "mcnemar_p")
COLUMNS = (
    *(f"quality_{name}" for name in VERDICT),
    *("prediction_flips", "worst_class", "worst_class_change", "worst_class_n"),
)


class PredictionReader:
    """Reads the predictions of a run's trials; the baseline's, which every comparison needs, once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._kept: dict[str, Predictions | None] = {}

    def of(self, record: Record, *, keep: bool = False) -> Predictions | None:
        """Return a trial's predictions, or None; ``keep`` them for the next time."""
        key = f"{record.trial.experiment}/{record.trial.name}"
        if key in self._kept:
            return self._kept[key]
        found = predictions_of(self._run, record)
        if keep:
            self._kept = {key: found}
        return found


def value_of(found: Predictions) -> Mean:
    """Return the metric on all examples with its interval; raises ValueError where it has none."""
    if not found.ranked:
        return mean_score(found.scores)
    if found.targets is None:
        raise ValueError("no targets were kept beside the scores")
    return rank_mean(found.scores, found.targets)


def quality_columns(
    predictions: PredictionReader, record: Record, baseline: Record | None, margin: float, missing: dict[str, str]
) -> dict[str, Any]:
    """Return ``COLUMNS`` of one trial; what is missing is put into ``missing`` with its reason."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    own = predictions.of(record)
    base = None if baseline is None else predictions.of(baseline, keep=True)
    quality = record.quality
    if own is None or base is None or baseline is record or not isinstance(quality, Quality):
        if own is not None and baseline is not record:
            missing["quality_change"] = "the baseline's quality was not measured"
        return row
    try:
        verdict = _verdict(base, own, margin, quality)
    except ValueError as error:
        missing["quality_change"] = str(error)
        return row
    values = (
        *(verdict.change, verdict.low, verdict.high, str(verdict.verdict), verdict.flips),
        *(verdict.n_needed, verdict.method, verdict.mcnemar_p),
    )
    return row | dict(zip(COLUMNS, values, strict=False)) | _by_class(base, own)


def _verdict(base: Predictions, own: Predictions, margin: float, quality: Quality) -> QualityVerdict:
    if not own.ranked:
        return quality_verdict(base.scores, own.scores, margin, higher_is_better=quality.higher_is_better)
    if own.targets is None:
        raise ValueError("no targets were kept beside the scores")
    return rank_verdict(base.scores, own.scores, own.targets, margin)


def _by_class(base: Predictions, own: Predictions) -> dict[str, Any]:
    """Return the columns on predicted classes; none where the predictions are no classes."""
    before, after = base.classes, own.classes
    if before is None or after is None:
        return {}
    row: dict[str, Any] = {"prediction_flips": prediction_flips(before, after)}
    targets = own.targets
    if targets is None or base.targets is None or targets.dtype.kind not in "iub":
        return row
    if not np.array_equal(targets, base.targets):
        return row
    worst = worst_class(before, after, targets)
    if worst is None:
        return row
    return row | {"worst_class": worst.label, "worst_class_change": worst.change, "worst_class_n": worst.n}
