"""The roofline of one experiment: its trials under what the host can compute and move; and its columns of the table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from harness import units
from harness.peaks import Bandwidth, Peaks, operations
from harness.report import style
from harness.report.flags import Flag, Plot, flags
from harness.report.rows import Row, absent, each, measured
from harness.report.style import MUTED, label
from harness.report.traces import points
from harness.roofline import level_name

BOUNDS = ("arithmetic", "memory", "overhead", "above the limit")
WIDE_PLOT, MEDIUM_PLOT = 740.0, 480.0
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, ""))


@dataclass(frozen=True)
class _Area:
    """About how many pixels lie between the axes, and whose peaks are named in them."""

    host: Peaks
    width: float
    height: float = 362.0
    wide: bool = True


@dataclass(frozen=True)
class _Roof:
    """The roof over the points of one number format: a slope for each bandwidth, and a level for its peak."""

    name: str
    peak: float
    slopes: tuple[Bandwidth, ...]

    @property
    def fastest(self) -> float:
        return max(b.bytes_per_s for b in self.slopes)


def roofline(rows: pd.DataFrame, peaks: Mapping[int, Peaks]) -> go.Figure | None:
    """Return attained operations a second over operations a byte, both logarithmic, under the roofs that apply.

    None without peaks. Trials with another number of threads than the first have other roofs and are left out.
    """
    shown = measured(rows)
    shown = shown[shown["roofline_limit_flops_per_s"].notna()]
    if not len(shown):
        return None
    threads = int(shown["threads"].iloc[0])
    shown = shown[shown["threads"] == threads]
    host = peaks.get(threads)
    if host is None:
        return None
    roofs = _roofs(shown, host)
    x_values = [*shown["arithmetic_intensity"], min(r.peak / r.fastest for r in roofs)]
    y_values = [*shown["attained_flops_per_s"], *(r.peak for r in roofs)]
    factor, prefix = next((f, p) for f, p in PREFIXES if max(y_values) >= f)
    scaled = [value / factor for value in y_values]
    xaxis = style.log_axis([min(x_values) / 2, max(x_values) * 3], "operations a byte moved (log scale)")
    yaxis = style.log_axis([min(scaled) / 3, max(scaled) * 1.7], f"attained, {prefix}op/s (log scale)")
    named = [_flag(row, factor) for row in each(shown)]
    ranges = (tuple(xaxis["range"]), tuple(yaxis["range"]))
    lines = [*_levels(roofs, factor, ranges[0]), *_slopes(roofs, factor, ranges)]
    layout = style.base_layout(430, xaxis=xaxis, yaxis=yaxis)
    wide, medium, narrow = (
        _roof_texts(roofs, factor, ranges, area)
        for area in (_Area(host, WIDE_PLOT), _Area(host, MEDIUM_PLOT), _Area(host, 250.0, wide=False))
    )
    layout.annotations = [*wide, *flags(named, Plot(*ranges, WIDE_PLOT))]
    layout.meta = {
        "medium": {"annotations": [*medium, *flags(named, Plot(*ranges, MEDIUM_PLOT))]},
        "narrow": {
            "height": 360,
            "annotations": narrow,
            "margin": {"l": 52, "r": 12, "t": 12, "b": 56},
            "xaxis": style.fewer_ticks(xaxis, 4),
        },
    }
    return go.Figure([*lines, *_clouds(shown, factor)], layout)


def per_byte(intensity: float) -> str:
    """Format operations a byte without an exponent."""
    return f"{intensity:,.0f}" if intensity >= 100 else f"{intensity:.3g}"


def has_roofline(rows: pd.DataFrame) -> bool:
    """Return whether peaks apply to any trial."""
    return bool(rows["roofline_limit_flops_per_s"].notna().any())


def bound_of(row: Row) -> str:
    """Return what holds a trial back, or ``above the limit`` where an assumption fails."""
    return "above the limit" if absent(row["bound_by"]) else str(row["bound_by"])


def _roofs(shown: pd.DataFrame, host: Peaks) -> list[_Roof]:
    """Return the roofs that apply: of each number format in use, with the bandwidths its trials may hope for."""
    roofs = []
    for name, part in shown.groupby("roofline_format", sort=False):
        best = host.of(str(name))
        if best is not None:
            used = {host.bandwidth_for(float(moved)) for moved in part["bytes_moved"]} | {host.memory}
            roofs.append(_Roof(str(name), best.flops_per_s, tuple(sorted(used, key=lambda b: b.bytes_per_s))))
    return sorted(roofs, key=lambda r: r.peak)


def _levels(roofs: Sequence[_Roof], factor: float, x_range: tuple[float, float]) -> list[go.Scatter]:
    return [_line([roof.peak / roof.fastest, 10 ** x_range[1]], [roof.peak / factor] * 2) for roof in roofs]


def _slopes(
    roofs: Sequence[_Roof], factor: float, ranges: tuple[tuple[float, float], tuple[float, float]]
) -> list[go.Scatter]:
    """Return a line for each bandwidth, up to the highest roof under which it applies."""
    tops: dict[Bandwidth, float] = {}
    for roof in roofs:
        for slope in roof.slopes:
            tops[slope] = max(tops.get(slope, 0.0), roof.peak)
    lines = []
    for slope, top in tops.items():
        start = max(10 ** ranges[0][0], 10 ** ranges[1][0] * factor / slope.bytes_per_s)
        end = top / slope.bytes_per_s
        lines.append(_line([start, end], [start * slope.bytes_per_s / factor, top / factor], "dash"))
    return lines


def _line(x: list[float], y: list[float], dash: str = "solid") -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="lines", line={"color": MUTED, "width": 1.5, "dash": dash}, hoverinfo="skip")


def _roof_texts(
    roofs: Sequence[_Roof], factor: float, ranges: tuple[tuple[float, float], tuple[float, float]], area: _Area
) -> list[dict[str, Any]]:
    """Return the names of the levels, at their right ends, and of the slopes, along them."""
    common = {"showarrow": False, "font": {"size": 11.5, "color": MUTED}}
    texts: list[dict[str, Any]] = []
    heights: list[float] = []
    for roof in reversed(roofs):  # the highest first; one that would be covered stands below its line
        y = float(np.log10(roof.peak / factor))
        near = any(abs(y - other) < 0.06 * (ranges[1][1] - ranges[1][0]) for other in heights)
        heights.append(y)
        text = f"{roof.name} {units.rate(roof.peak, operations(roof.name))}" if area.wide else roof.name
        place = {"xref": "paper", "x": 1, "xanchor": "right", "y": y, "yanchor": "top" if near else "bottom"}
        texts.append({**common, "text": label(text), **place})
    turn = float(np.arctan2(area.height / (ranges[1][1] - ranges[1][0]), area.width / (ranges[0][1] - ranges[0][0])))
    away = {"xshift": -9 * float(np.sin(turn)), "yshift": 9 * float(np.cos(turn)), "textangle": -np.degrees(turn)}
    lowest = float(np.log10(min(roof.peak for roof in roofs) / factor))
    for slope in sorted({s for r in roofs for s in r.slopes}, key=lambda b: b.bytes_per_s):
        rise = float(np.log10(slope.bytes_per_s / factor))
        foot = max(ranges[0][0], ranges[1][0] - rise)
        middle = (foot + lowest - rise) / 2
        text = f"{level_name(slope, area.host)}, {units.rate(slope.bytes_per_s, 'B/s')}" if area.wide else ""
        if text and foot < middle < ranges[0][1]:
            texts.append({**common, "text": label(text), "x": middle, "y": middle + rise, **away})
    return texts


def _clouds(shown: pd.DataFrame, factor: float) -> list[go.Scatter]:
    bounds = [bound_of(row) for row in each(shown)]
    clouds = []
    for bound in BOUNDS:
        part = shown[[b == bound for b in bounds]]
        if len(part):
            y = part["attained_flops_per_s"].astype(float) / factor
            trace = points(part["arithmetic_intensity"], y, bound, [_hover(row) for row in each(part)], None)
            trace.name = bound if bound == "above the limit" else f"bound by {bound}"
            clouds.append(trace)
    return clouds


def _hover(row: Row) -> str:
    unit = operations(str(row["roofline_format"]))
    name = f"{row['trial']} (baseline)" if row["role"] == "baseline" else str(row["trial"])
    facts = [
        f"{units.rate(row['flops'], 'op')} a call on {units.size(row['bytes_moved'])}: "
        f"{per_byte(row['arithmetic_intensity'])} a byte",
        f"attained {units.rate(row['attained_flops_per_s'], unit)} in a median call of "
        f"{units.seconds(row['latency_p50_s'])}",
        f"limit {units.rate(row['roofline_limit_flops_per_s'], unit)} in {row['roofline_format']}",
    ]
    if absent(row["roofline_share"]):
        facts += textwrap.wrap(str(row["missing"].get("roofline_share", "")), 60)
    else:
        facts.append(f"{units.percent(row['roofline_share'], 0)} of the limit, bound by {row['bound_by']}")
    return "<br>".join([f"<b>{label(name)}</b>", *map(label, facts)])


def _flag(row: Row, factor: float) -> Flag:
    y = float(np.log10(row["attained_flops_per_s"] / factor))
    return Flag(str(row["trial"]), float(np.log10(row["arithmetic_intensity"])), y, y, row["role"] == "baseline")
