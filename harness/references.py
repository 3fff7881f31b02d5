"""Which trials of an experiment the others are compared with: the baseline, and each engine's own row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.schema import Record, Unmeasured

Engine = tuple[str, int, str | None]  # backend, threads, interpreter


@dataclass(frozen=True)
class References:
    """The records of an experiment that others are compared with: the baseline, and each engine's own row."""

    baseline: Record | None
    plain: Mapping[Engine, Record]


def references_of(records: Sequence[Record]) -> dict[str, References]:
    """Find the references of every experiment in one pass.

    The row of an engine is without passes, with the fewest options, measured, the baseline first. Not the first in the
    file: records stand in the order in which trials ended, failures before all others.
    """
    baselines: dict[str, Record] = {}
    plain: dict[str, dict[Engine, Record]] = {}
    for record in records:
        trial = record.trial
        rows = plain.setdefault(trial.experiment, {})
        if trial.role == "baseline":
            baselines.setdefault(trial.experiment, record)
        if not trial.passes and trial.role != "variant":
            engine = engine_of(record)
            rows[engine] = min(rows.get(engine, record), record, key=_plainness)
    return {name: References(baselines.get(name), rows) for name, rows in plain.items()}


def engine_of(record: Record) -> Engine:
    """Return what makes an engine: rows of the same one differ by technique only."""
    return record.trial.backend, record.trial.threads, record.trial.interpreter


def _plainness(record: Record) -> tuple[int, bool, bool]:
    return len(record.trial.options), isinstance(record.timing, Unmeasured), record.trial.role != "baseline"
