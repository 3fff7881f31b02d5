"""What really ran: the operators of each trial, stacked by number format and kind."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from harness import units
from harness.execution import LEAST_SHOWN, group_of, what_ran
from harness.report import style
from harness.report.rows import Row, absent, each, measured
from harness.report.style import label
from harness.schema import OperatorUse

# Formats in which products are computed, then what is no product; each with its color.
GROUPS = {
    "float32": "var(--line-0)",
    "bfloat16": "var(--line-2)",
    "float16": "var(--line-3)",
    "int8": "var(--line-1)",
    "int4": "var(--line-4)",
    "unknown format": "var(--line-5)",
    "other": "var(--chart-grid)",
    "conversion": "var(--chart-muted)",
}
NAMES = {"conversion": "conversions", "other": "other operators"}
LISTED = 6  # operators in a hover


def executed(rows: pd.DataFrame) -> go.Figure | None:
    """Return the share of each number format, of conversions and of the rest, a row a trial; None where nobody told."""
    shown = measured(rows)
    shown = shown[shown["execution_source"].notna()]
    if not len(shown):
        return None
    shares = [_shares(row) for row in each(shown)]
    hovers = [_hover(row) for row in each(shown)]
    groups = [*GROUPS, *sorted({name for own in shares for name in own} - set(GROUPS))]
    used = [group for group in groups if any(own.get(group, 0.0) >= LEAST_SHOWN for own in shares)]
    bars = [
        go.Bar(
            x=[100 * own.get(group, 0.0) for own in shares],
            y=list(range(len(shown))),
            name=label(NAMES.get(group, group)),
            orientation="h",
            width=0.42,
            marker={"color": GROUPS.get(group, "var(--line-5)")},
            hovertext=hovers,
            hoverinfo="text",
        )
        for group in used
    ]
    counted = set(shown["execution_basis"]) == {"count"}
    title = "share of the operators, by number" if counted else "share of the operators’ time"
    xaxis = style.axis(title, range=[0, 100], ticksuffix=" %", nticks=6)
    layout = style.rows_layout([str(name) for name in shown["trial"]], [_value(row) for row in each(shown)], xaxis)
    layout.barmode = "stack"
    layout.meta["narrow"]["xaxis"] = {"tickvals": [25, 50, 75]}
    return go.Figure(bars, layout)


def fallbacks(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return what did not run as asked and which passes reached a part of the layers only, a sentence each."""
    found = []
    for row in each(measured(rows)):
        said = row["execution_fallbacks"]
        texts = list(said) if isinstance(said, list) else []
        texts += [] if absent(row["partial_note"]) else [row["partial_note"]]
        found += [f"{row['trial']}: {text}" for text in texts]
    return tuple(found)


def _shares(row: Row) -> dict[str, float]:
    shares: dict[str, float] = {}
    for operator in _operators(row):
        group = group_of(operator)
        shares[group] = shares.get(group, 0.0) + operator.share
    return shares


def _operators(row: Row) -> list[OperatorUse]:
    return [OperatorUse(**operator) for operator in row["execution_operators"]]


def _value(row: Row) -> str:
    """Return the main format and its share of the computing operators."""
    formats: dict[str, Any] = row["executed_formats"] or {}
    if not formats:
        return "–"
    name, share = next(iter(formats.items()))
    counted = " by count" if row["execution_basis"] == "count" else ""
    return f"{name or 'unknown'} {units.percent(share, 0)}{counted}"


def _hover(row: Row) -> str:
    facts = [f"asked for {row['precision_requested'] or 'no format'}; computing operators: {what_ran(row) or '–'}"]
    facts += [
        f"{o.name}{f' {o.format}' if o.format else ''}: {units.percent(o.share)}, {o.count:g} a call"
        for o in _operators(row)[:LISTED]
    ]
    more = len(row["execution_operators"]) - LISTED
    facts += [f"and {more} more operators"] if more > 0 else []
    facts += [f"{row['execution_source']}, {row['execution_calls']:.0f} calls"]
    facts += [line for text in row["execution_fallbacks"] for line in textwrap.wrap(text, 60)]
    return "<br>".join([f"<b>{label(row['trial'])}</b>", *map(label, facts)])
