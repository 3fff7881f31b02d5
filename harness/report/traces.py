"""Parts of charts: markers with intervals, distributions, hover texts and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from harness import units
from harness.report.rows import Metric, Row, absent, each, estimate, optional
from harness.report.style import MARKS, label

UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))


def hover(row: Row, metric: Metric | None) -> str:
    """Return all that is known of a trial, one fact a line, safe for plotly."""
    facts = [f"{row['passes'] or 'no passes'} on {row['backend']}"]
    if row["options"]:
        facts.append(f"options {row['options']}")
    if not absent(row["speedup"]):
        rounds = f"{row['speedup_rounds']:.0f} rounds, {row['replicates']:.0f} replicates"
        facts.append(f"speed-up {estimate(row)} {row['speedup_verdict']} ({rounds})")
    if metric is not None and not absent(row["quality"]):
        value = f"{metric.value(row['quality'])} {metric.interval(row['quality_low'], row['quality_high'])}"
        facts.append(f"{metric.name} {value} (n = {row['quality_n']:.0f})")
    if metric is not None and not absent(row["quality_change"]):
        facts.append(f"change {metric.change(row['quality_change'])}: {row['quality_verdict']}")
    facts.append(f"median latency {optional(row['latency_p50_s'], units.seconds)}")
    floor = optional(row["memory_floor_bytes"], units.size)
    facts.append(f"memory {optional(row['inference_over_floor_bytes'], units.size)} over a floor of {floor}")
    facts.append(f"size {optional(row['artifact_bytes'], units.size)}")
    name = f"{row['trial']} (baseline)" if row["role"] == "baseline" else str(row["trial"])
    return "<br>".join([f"<b>{label(name)}</b>", *map(label, facts)])


def hovers_of(rows: pd.DataFrame, metric: Metric | None) -> list[str]:
    """Return ``hover`` of each row."""
    return [hover(row, metric) for row in each(rows)]


def points(x: Any, y: Any, verdict: str, hovers: Sequence[str], error: dict[str, list[float]] | None) -> go.Scatter:
    """Return markers in the color and shape of a verdict, with intervals along x where ``error`` gives them."""
    mark = MARKS.get(verdict, MARKS["baseline"])
    line = {"color": mark.color, "width": 2.5 if mark.symbol.endswith("-open") else 0}
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="markers",
        name=verdict,
        marker={"color": mark.color, "symbol": mark.symbol, "size": mark.size, "line": line},
        error_x=None if error is None else {**whisker(mark.color), **error},
        hovertext=list(hovers),
        hoverinfo="text",
    )


def whisker(color: str) -> dict[str, Any]:
    """Return how an interval is drawn."""
    return {"type": "data", "symmetric": False, "color": color, "thickness": 2, "width": 0}


def spread(rows: pd.DataFrame, prefix: str) -> dict[str, list[float]]:
    """Return how far the interval reaches up and down; 0 where there is none."""
    center = rows[prefix].astype(float)
    up = (rows[f"{prefix}_high"].astype(float) - center).fillna(0.0)
    down = (center - rows[f"{prefix}_low"].astype(float)).fillna(0.0)
    finite = [side.where(np.isfinite(side), 0.0).tolist() for side in (up, down)]
    return {"array": finite[0], "arrayminus": finite[1]}


def distribution(name: str, x: Any, y: Any, line: dict[str, Any], facts: tuple[str, int]) -> go.Scatter:
    """Return shares ``y`` in [0, 1] over latencies ``x``; ``facts`` are the unit of x and the calls behind it."""
    unit, n = facts
    text = f"<b>{label(name)}</b><br>%{{y:.3~g}} % of {n} calls took at most %{{x:.3~g}} {unit}<extra></extra>"
    return go.Scatter(
        x=[float(f"{v:.4g}") for v in x],
        y=[round(100 * float(v), 2) for v in y],
        mode="lines",
        name=label(name),
        line=line,
        hovertemplate=text,
    )


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the factor and name of the unit in which a duration reads best."""
    return next((pair for pair in UNITS if seconds * pair[0] >= 1), UNITS[-1])


def size_unit(size: float) -> tuple[float, str]:
    """Return the bytes and name of the unit in which a size reads best."""
    return next(((f, u) for f, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= f), (1.0, "B"))
