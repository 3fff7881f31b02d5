"""What a trial really ran, as columns: number formats, conversions, time outside operators, and what passes reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from harness import units
from harness.schema import Artifact, Execution, OperatorUse, Record, Step, Unmeasured

LEAST_SHOWN = 0.005  # a smaller share would read 0 %
NO_FORMAT = "the runtime does not tell the number format of its operators"
NO_COMPUTE = "the runtime names no operator that computes"
NOT_COUNTED = "no pass counted layers"
NO_SIZES = "no pass told the size before and after"

_READ: Mapping[str, Callable[[Execution], Any]] = {
    "executed_formats": lambda e: _formats(e),
    "executed_format": lambda e: _main(e, 0),
    "executed_share": lambda e: _main(e, 1),
    "conversion_share": lambda e: e.share("conversion"),
    "outside_share": lambda e: e.outside_share,
    "execution_source": lambda e: e.source,
    "execution_basis": lambda e: e.basis,
    "execution_calls": lambda e: e.calls,
    "execution_operators": lambda e: [dataclasses.asdict(o) for o in e.operators],
    "execution_fallbacks": lambda e: list(e.fallbacks),
    "graph_breaks": lambda e: e.graph_breaks,
    "recompiles": lambda e: e.recompiles,
}
COLUMNS = (
    *("precision_requested", *_READ),
    *("layers_changed", "layers_total", "bytes_before", "bytes_after", "partial_note"),
)


def execution_columns(record: Record, missing: dict[str, str]) -> dict[str, Any]:
    """Return ``COLUMNS`` of one trial; what is missing is put into ``missing`` with its reason.

    ``executed_share`` is of the computing operators, ``conversion_share`` of all operators, both of what
    ``execution_basis`` says (their time, or only their number), ``outside_share`` of a call's wall time.
    """
    told, steps = record.execution, record.artifact.steps if isinstance(record.artifact, Artifact) else ()
    counted = [s for s in steps if s.layers is not None]
    sized = [s for s in steps if s.bytes_before is not None and s.bytes_after is not None]
    row = {
        "precision_requested": record.actual.get(
            "requested_precision", Unmeasured("recorded before the harness kept it")
        ),
        **{name: told if isinstance(told, Unmeasured) else read(told) for name, read in _READ.items()},
        "layers_changed": counted[-1].layers if counted else Unmeasured(NOT_COUNTED),
        "layers_total": counted[-1].of if counted else Unmeasured(NOT_COUNTED),
        "bytes_before": sized[0].bytes_before if sized else Unmeasured(NO_SIZES),
        "bytes_after": sized[-1].bytes_after if sized else Unmeasured(NO_SIZES),
        "partial_note": "; ".join(map(reached, filter(is_partial, steps))) or None,
    }
    missing |= {name: value.reason for name, value in row.items() if isinstance(value, Unmeasured)}
    return {name: None if isinstance(value, Unmeasured) else value for name, value in row.items()}


def is_partial(step: Step) -> bool:
    """Return whether a pass left some of the layers as they were that it could have changed."""
    return step.layers is not None and step.of is not None and step.layers < step.of


def reached(step: Step) -> str:
    """Say how far a pass came: ``quantize.dynamic-int8 reached 1 of 21 layers``."""
    return f"{step.name} reached {step.layers} of {step.of} layers"


def what_ran(row: Any) -> str:
    """Return what ran in a few words, from a row with ``COLUMNS``: ``int8 97 %, conversions 4 %``; empty if unknown.

    Formats by their share of the computing operators, conversions by theirs of all operators.
    """
    formats = row["executed_formats"]
    if not isinstance(formats, Mapping):
        return ""
    parts = [f"{name or 'unknown'} {units.percent(s, 0)}" for name, s in formats.items() if s >= LEAST_SHOWN]
    if row["conversion_share"] >= LEAST_SHOWN:
        parts.append(f"conversions {units.percent(row['conversion_share'], 0)}")
    return ", ".join(parts) + (" (by count)" if row["execution_basis"] == "count" else "")


def by_name(told: Execution, kind: str | None = None) -> dict[str, float]:
    """Return operator → share over all its formats, largest first; of one kind, or of all."""
    shares: dict[str, float] = {}
    for operator in told.operators:
        if kind in (None, operator.kind):
            shares[operator.name] = shares.get(operator.name, 0.0) + operator.share
    return dict(sorted(shares.items(), key=lambda s: -s[1]))


def group_of(operator: OperatorUse) -> str:
    """Return what an operator counts as where shares are stacked: its format if it computes, else its kind."""
    return (operator.format or "unknown format") if operator.kind == "compute" else operator.kind


def _formats(told: Execution) -> dict[str, float] | Unmeasured:
    return told.formats or Unmeasured(NO_COMPUTE)


def _main(told: Execution, part: int) -> Any:
    """Return the largest number format, or its share."""
    formats = told.formats
    if not formats:
        return Unmeasured(NO_COMPUTE)
    main = next(iter(formats.items()))
    return main[part] if main[0] else Unmeasured(NO_FORMAT)
