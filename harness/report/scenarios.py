"""What LoadGen said of the trials of one experiment, in words: for the page and for ``harness show``."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness import units
from harness.report.rows import Row, absent, each, optional
from harness.schema import NO_LOAD_TEST

OFFICIAL_S = 600
ALONE = "each trial alone, one after the other, so no verdict is drawn from these"
FLOOR = "floor: a system that answers at once, which is what LoadGen and Python cost"


@dataclass(frozen=True)
class ScenarioRow:
    """One trial. ``verdict`` is LoadGen's ``VALID`` or ``INVALID``, or empty when there was no test."""

    trial: str
    value: str
    early: str
    floor: str
    queries: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Scenarios:
    """The trials under one scenario; ``early`` says whether LoadGen estimates the percentile of this one."""

    metric: str
    early: bool
    rows: tuple[ScenarioRow, ...]
    note: str


def scenarios(rows: pd.DataFrame) -> Scenarios | None:
    """Return the tests of one experiment's trials that ended well; None when none was asked for."""
    asked = [r for r in each(rows[rows["status"] == "ok"]) if r["missing"].get("scenario_valid") != NO_LOAD_TEST]
    tested = [r for r in asked if not absent(r["scenario_valid"])]
    if not asked or not (tested or any("scenario_valid" in r["missing"] for r in asked)):
        return None
    early = any(not absent(r["scenario_early_stopping_s"]) for r in tested)
    if not tested:
        return Scenarios("value", early, tuple(map(_row, asked)), f"LoadGen: {ALONE}")
    return Scenarios(_metric(tested[0]), early, tuple(map(_row, asked)), _note(tested[0]))


def _metric(row: Row) -> str:
    if row["scenario_metric"] == "samples_per_s":
        return "examples/s"
    name = f"p{100 * row['scenario_percentile']:g}"
    if row["scenario_metric"] == "rate_per_s":
        return f"queries/s with {name} ≤ {units.seconds(row['scenario_bound_s'])}"
    return f"{name} of a query"


def _row(row: Row) -> ScenarioRow:
    if absent(row["scenario_valid"]):
        return ScenarioRow(str(row["trial"]), "–", "–", "–", "–", "", str(row["missing"].get("scenario_valid", "")))
    show = units.seconds if row["scenario_metric"] == "latency_s" else _rate
    reason = str(row["scenario_reason"] or "")
    if absent(row["scenario_floor"]):
        reason = "; ".join(filter(None, [reason, f"floor: {row['missing'].get('scenario_floor', 'not measured')}"]))
    return ScenarioRow(
        trial=str(row["trial"]),
        value=show(row["scenario_value"]),
        early=optional(row["scenario_early_stopping_s"], units.seconds),
        floor=optional(row["scenario_floor"], show),
        queries=_queries(row),
        verdict="VALID" if row["scenario_valid"] else "INVALID",
        reason=reason,
    )


def _queries(row: Row) -> str:
    each_ = row["scenario_samples_per_query"]
    return f"{row['scenario_queries']:,.0f}" + (f" × {each_:,.0f}" if each_ > 1 else "")


def _note(row: Row) -> str:
    parts = [f"LoadGen: {ALONE}", _length(row), FLOOR]
    if not absent(row["scenario_resolution"]):
        parts.insert(
            1, f"the rate was searched to {100 * row['scenario_resolution']:g} % with short tests: an estimate"
        )
    return "; ".join(parts)


def _length(row: Row) -> str:
    if row["scenario_official"]:
        return f"MLPerf's own length of {OFFICIAL_S} s and percentile"
    text = f"at least {row['scenario_min_duration_s']:g} s a test where MLPerf takes {OFFICIAL_S} s"
    if row["workload"] == "multi-stream" and row["scenario_percentile"] < 0.99:
        text += f", and p{100 * row['scenario_percentile']:g} where it judges p99"
    return text


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
