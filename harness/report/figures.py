"""The charts of one experiment: pure functions from its rows to plotly figures.

Every trace with a name is an entry of the legend, which the page draws itself. ``rows`` are the rows of one
experiment with the columns of ``report_df``. A figure is None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from harness import units
from harness.pareto import on_front
from harness.report import style
from harness.report.flags import Flag, Plot, flags
from harness.report.rows import Metric, Row, absent, each, engine_of, estimate, measured, metric_of
from harness.report.style import FOREGROUND, MUTED
from harness.report.traces import distribution, hovers_of, points, size_unit, spread, time_unit, whisker

SPEED_TITLE = "speed-up over the baseline (log scale)"
WIDE_PLOT, MEDIUM_PLOT = 740.0, 480.0  # pixels between the axes at the least, see report.js
POINTS = 200  # of a distribution
VERDICTS = ("faster", "slower", "same", "inconclusive", "baseline")
QUALITIES = ("kept", "lost", "inconclusive", "not judged", "baseline")


def tradeoff(rows: pd.DataFrame) -> go.Figure | None:
    """Return quality against speed-up with both intervals, the Pareto front marked; None without quality."""
    metric = metric_of(rows)
    shown = measured(rows)
    shown = shown[shown["quality"].notna() & shown["speedup_shown"].notna()]
    if metric is None or len(shown) < 2:
        return None
    shown = shown.assign(
        verdict=[_quality_verdict(row) for row in each(shown)],
        front=on_front(shown, higher_is_better=metric.higher_is_better),
        scale=100.0 if metric.percent else 1.0,
    )
    traces = [_front_line(shown[shown["front"]].sort_values("speedup_shown"))] if shown["front"].sum() > 1 else []
    traces += [_cloud(part, str(v), metric) for v in QUALITIES if len(part := shown[shown["verdict"] == v])]
    reach = [*shown["speedup_shown"], *shown["speedup_low"].dropna(), *shown["speedup_high"].dropna()]
    xaxis = style.log_axis(reach, SPEED_TITLE, "×")
    x_range, y_range = (xaxis["range"][0], xaxis["range"][1]), _room(shown)
    named = [_flag(row, y_range[0]) for row in each(shown)]
    layout = style.base_layout(
        430,
        xaxis=xaxis,
        yaxis=style.axis(metric.name, ticksuffix=" %" if metric.percent else "", nticks=6, range=list(y_range)),
        shapes=[style.vertical(1.0)],
        annotations=flags(named, Plot(x_range, y_range, WIDE_PLOT)),
    )
    narrow = {"height": 360, "annotations": [], "margin": {"l": 48, "r": 12, "t": 12, "b": 56}}
    layout.meta = {
        "medium": {"annotations": flags(named, Plot(x_range, y_range, MEDIUM_PLOT))},
        "narrow": {**narrow, "xaxis": style.fewer_ticks(xaxis)},
    }
    return go.Figure(traces, layout)


def forest(rows: pd.DataFrame) -> go.Figure | None:
    """Return the speed-ups with their intervals, fastest first, the verdict in color and shape."""
    shown = measured(rows)
    shown = shown[shown["speedup_shown"].notna()].reset_index(drop=True)
    if len(shown) < 2:
        return None
    verdicts = [_speed_verdict(row) for row in each(shown)]
    metric = metric_of(rows)
    traces = []
    for verdict in VERDICTS:
        at = [i for i, v in enumerate(verdicts) if v == verdict]
        if at:
            part = shown.loc[at]
            traces.append(points(part["speedup_shown"], at, verdict, hovers_of(part, metric), spread(part, "speedup")))
    reach = [*shown["speedup_shown"], *shown["speedup_low"].dropna(), *shown["speedup_high"].dropna()]
    values = ["1×" if row["role"] == "baseline" else estimate(row) for row in each(shown)]
    layout = style.rows_layout(
        [str(name) for name in shown["trial"]],
        values,
        style.log_axis(reach, SPEED_TITLE, "×"),
    )
    layout.shapes = [style.band(float(shown["margin"].iloc[0])), style.vertical(1.0)]
    return go.Figure(traces, layout)


def engines(rows: pd.DataFrame) -> go.Figure | None:
    """Return for each variant its engine's own speed-up and where the technique takes it from there."""
    shown = measured(rows)
    shown = shown[shown["technique_speedup"].notna() & shown["speedup_shown"].notna()]
    found = [(row, engine, _start(engine)) for row in each(shown) if (engine := engine_of(row, rows)) is not None]
    found = [(row, engine, start) for row, engine, start in found if not absent(start)]
    if not found:
        return None
    starts = [start for *_, start in found]
    wholes, alone = pd.DataFrame([row for row, *_ in found]), pd.DataFrame([engine for _, engine, _ in found])
    metric, at = metric_of(rows), list(range(len(found)))
    engine = points(starts, at, "the engine alone", hovers_of(alone, metric), None)
    hollow = {"color": "var(--same)", "width": 2.5}
    engine.marker = {"color": "var(--chart-ground)", "symbol": "circle", "size": 10, "line": hollow}
    total = points(
        wholes["speedup_shown"], at, "with the technique", hovers_of(wholes, metric), spread(wholes, "speedup")
    )
    total.marker = {"color": "var(--same)", "symbol": "circle", "size": 11}
    total.error_x.color = "var(--same)"
    layout = style.rows_layout(
        [str(name) for name in wholes["trial"]],
        [f"{units.ratio(start)} · {units.ratio(row['technique_speedup'])}" for row, _, start in found],
        style.log_axis([1.0, *starts, *wholes["speedup_low"], *wholes["speedup_high"]], SPEED_TITLE, "×"),
    )
    layout.shapes = [style.vertical(1.0)]
    return go.Figure([_joined(starts, wholes["speedup_shown"].tolist()), engine, total], layout)


def latencies(samples: Mapping[str, Sequence[NDArray[np.float64]]], baseline: str | None = None) -> go.Figure | None:
    """Return the distribution of each trial's latencies: share of calls (y) that took at most so long (x, log).

    Args:
        samples: seconds, by trial and replicate; at most ``POINTS`` quantiles of a trial reach the figure.
        baseline: the trial drawn in the text's color.
    """
    pooled = {name: np.concatenate(list(parts)) for name, parts in samples.items() if sum(map(len, parts))}
    if not pooled:
        return None
    quantiles = {name: np.quantile(seconds, _shares(len(seconds))) for name, seconds in pooled.items()}
    reach = [float(x) for q in quantiles.values() for x in (q[0], np.quantile(q, 0.99))]
    factor, unit = time_unit(float(np.sqrt(min(reach) * max(reach))))
    others = [name for name in quantiles if name != baseline]
    traces = [
        distribution(name, q * factor, _shares(len(q)), _line(others, name), (unit, len(pooled[name])))
        for name, q in quantiles.items()
    ]
    xaxis = style.log_axis([x * factor for x in reach], f"latency of one call in {unit} (log scale)")
    yaxis = style.axis("share of calls", range=[0, 101], ticksuffix=" %", nticks=6)
    layout = style.base_layout(400, xaxis=xaxis, yaxis=yaxis)
    narrow = {"height": 340, "margin": {"l": 48, "r": 12, "t": 12, "b": 56}}
    layout.meta = {"narrow": {**narrow, "xaxis": style.fewer_ticks(xaxis)}}
    return go.Figure(traces, layout)


def memory(rows: pd.DataFrame) -> go.Figure | None:
    """Return load peak and inference peak over the runtime's floor, a row a trial."""
    shown = measured(rows)
    shown = shown[shown["inference_over_floor_bytes"].notna()]
    if not len(shown):
        return None
    floor = shown["memory_floor_bytes"]
    loading = (shown["load_peak_rss_bytes"] - floor).clip(lower=0)
    running = shown["inference_over_floor_bytes"]
    at = list(range(len(shown)))
    hovers = hovers_of(shown, metric_of(rows))
    factor, unit = size_unit(float(max(running.max(), loading.max())))
    traces = [
        go.Bar(x=loading / factor, y=[y - 0.13 for y in at], name="while loading", marker={"color": "var(--bar-2)"}),
        go.Bar(x=running / factor, y=[y + 0.13 for y in at], name="at inference", marker={"color": "var(--bar-1)"}),
    ]
    for trace in traces:
        trace.update(orientation="h", width=0.23, hovertext=hovers, hoverinfo="text")
    values = [f"{units.size(value)} + {units.size(under)}" for value, under in zip(running, floor, strict=True)]
    xaxis = style.axis(f"peak over the floor in {unit}", rangemode="tozero", nticks=7)
    return go.Figure(traces, style.rows_layout([str(n) for n in shown["trial"]], values, xaxis))


def sizes(rows: pd.DataFrame) -> go.Figure | None:
    """Return the size of each artifact on disk, a row a trial."""
    shown = measured(rows)
    shown = shown[shown["artifact_bytes"].notna()]
    if not len(shown):
        return None
    factor, unit = size_unit(float(shown["artifact_bytes"].max()))
    bar = go.Bar(
        x=shown["artifact_bytes"] / factor,
        y=list(range(len(shown))),
        orientation="h",
        width=0.36,
        marker={"color": "var(--bar-1)"},
        hovertext=hovers_of(shown, metric_of(rows)),
        hoverinfo="text",
    )
    xaxis = style.axis(f"artifact on disk in {unit}", rangemode="tozero", nticks=7)
    values = [units.size(value) for value in shown["artifact_bytes"]]
    return go.Figure([bar], style.rows_layout([str(n) for n in shown["trial"]], values, xaxis))


def _start(engine: Row) -> float:
    return 1.0 if engine["role"] == "baseline" else float(engine["speedup"])


def _joined(starts: Sequence[float], ends: Sequence[float]) -> go.Scatter:
    """Return a line in each row from its start to its end."""
    return go.Scatter(
        x=[x for start, end in zip(starts, ends, strict=True) for x in (start, end, None)],
        y=[y for row in range(len(starts)) for y in (row, row, None)],
        mode="lines",
        line={"color": MUTED, "width": 2},
        hoverinfo="skip",
    )


def _shares(n: int) -> NDArray[np.float64]:
    count = min(POINTS, n)
    return np.asarray((np.arange(count) + 0.5) / count, dtype=np.float64)


def _line(others: Sequence[str], name: str) -> dict[str, Any]:
    """Return a line's look: the baseline's in the text's color, others by their place in the list."""
    if name not in others:
        return {"color": FOREGROUND, "dash": "solid", "width": 2}
    turn, place = divmod(others.index(name), len(style.LINES))
    return {"color": style.LINES[place], "dash": style.DASHES[turn % len(style.DASHES)], "width": 2}


def _quality_verdict(row: Row) -> str:
    if row["role"] == "baseline":
        return "baseline"
    return "not judged" if absent(row["quality_verdict"]) else str(row["quality_verdict"])


def _speed_verdict(row: Row) -> str:
    return "baseline" if row["role"] == "baseline" else str(row["speedup_verdict"])


def _cloud(part: pd.DataFrame, verdict: str, metric: Metric) -> go.Scatter:
    scale = part["scale"]
    name = verdict if verdict in ("baseline", "not judged") else f"{metric.name} {verdict}"
    trace = points(
        part["speedup_shown"], part["quality"] * scale, verdict, hovers_of(part, metric), spread(part, "speedup")
    )
    error = spread(part.assign(quality=part["quality"]), "quality")
    error = {side: [value * s for value, s in zip(error[side], scale, strict=True)] for side in error}
    trace.update(name=name, error_y={**whisker(trace.marker.color), **error})
    return trace


def _front_line(front: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=front["speedup_shown"].tolist(),
        y=(front["quality"] * front["scale"]).tolist(),
        mode="lines",
        name="Pareto front",
        line={"color": MUTED, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )


def _room(shown: pd.DataFrame) -> tuple[float, float]:
    """Return the range that holds all intervals, and names below them."""
    ends = shown[["quality", "quality_low", "quality_high"]].astype(float).mul(shown["scale"], axis=0).to_numpy()
    finite = ends[np.isfinite(ends)]
    low, high = float(finite.min()), float(finite.max())
    height = (high - low) or max(abs(high), 1.0) * 0.1
    return low - 0.12 * height, high + 0.05 * height


def _flag(row: Row, floor: float) -> Flag:
    low, high = (float(row[f"quality_{side}"] * row["scale"]) for side in ("low", "high"))
    important = bool(row["front"]) or row["role"] == "baseline"
    return Flag(str(row["trial"]), float(np.log10(row["speedup_shown"])), max(low, floor), high, important)
