"""Rows with their verdicts → the columns that say why a trial is not faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.evidence import Evidence, Versus
from harness.frame import run_peaks
from harness.references import References, engine_of
from harness.schema import Record, Status
from harness.store import Run
from harness.why import explain

COLUMNS = ("why", "why_rule", "why_against", "why_ratio")
_NEEDED = ("experiment", "trial", "latency_p50_s", "bound_by", "roofline_share")


def add_reasons(
    run: Run, references: Mapping[str, References], frame: pd.DataFrame, extra: Sequence[dict[str, Any]]
) -> None:
    """Put ``COLUMNS`` into each row of ``extra``.

    Args:
        references: experiment → the trials that others are compared with.
        frame, extra: of each record in order, its columns and those of its comparisons.
    """
    flags, peaks = frozenset(run.header["host"].get("flags", ())), run_peaks(run)
    rows = frame[list(_NEEDED)].to_dict(orient="records")
    calls = {(row["experiment"], row["trial"]): _known(row["latency_p50_s"]) for row in rows}
    for record, row, target in zip(run.records, rows, extra, strict=True):
        target |= dict.fromkeys(COLUMNS)
        if record.status is not Status.OK or record.trial.role == "baseline":
            continue
        others = references[record.trial.experiment]
        evidence = Evidence(
            record=record,
            engine=_versus("technique_speedup", target, others.plain.get(engine_of(record)), calls),
            baseline=_versus("speedup", target, others.baseline, calls),
            flags=flags,
            peaks=peaks.get(record.trial.threads),
            bound=_known(row["bound_by"]),
            limit_share=_known(row["roofline_share"]),
            call_s=_known(row["latency_p50_s"]),
        )
        found = explain(evidence)
        if found is not None:
            target |= dict(zip(COLUMNS, (found.sentence, found.rule, found.against, found.ratio), strict=True))


def _versus(
    prefix: str, row: Mapping[Any, Any], reference: Record | None, calls: Mapping[tuple[str, str], Any]
) -> Versus | None:
    """Return a comparison of a row as evidence; None where it was not made."""
    if reference is None or row[f"{prefix}_verdict"] is None:
        return None
    return Versus(
        record=reference,
        ratio=row[prefix],
        low=row[f"{prefix}_low"],
        high=row[f"{prefix}_high"],
        verdict=row[f"{prefix}_verdict"],
        reason=row[f"{prefix}_reason"],
        call_s=calls[reference.trial.experiment, reference.trial.name],
    )


def _known(value: Any) -> Any:
    """Return a value of a frame, None where it is missing: pandas makes NaN of it."""
    return None if value is None or value != value else value
