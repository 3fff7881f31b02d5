"""How charts look: colors by role, marker shapes, axes, and text that plotly cannot take for markup.

Colors are names of CSS variables, such as ``var(--good)``: report.js puts the values of the page's theme in their
place, so one figure serves light, dark and print. The hues are those of Okabe and Ito's color-blind safe palette.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

FOREGROUND, MUTED, GRID = "var(--chart-text)", "var(--chart-muted)", "var(--chart-grid)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
LINES = tuple(f"var(--line-{n})" for n in range(6))
DASHES = ("solid", "dash", "dot", "dashdot")
CONFIG = {"displayModeBar": False, "responsive": True, "showTips": False}

WIDE_LABEL, NARROW_LINE = 44, 50  # characters
WIDE_ROW, NARROW_ROW = 34, 54  # pixels


@dataclass(frozen=True)
class Mark:
    """How a verdict is drawn: by color and by shape, so that neither is needed to read the other."""

    color: str
    symbol: str
    size: int = 11


GOOD, BAD = Mark("var(--good)", "triangle-up", 11), Mark("var(--bad)", "triangle-down", 11)
MARKS = {
    "faster": GOOD,
    "slower": BAD,
    "same": Mark("var(--same)", "square", 9),
    "inconclusive": Mark("var(--open)", "diamond-open", 10),
    "kept": Mark("var(--good)", "circle", 10),
    "lost": Mark("var(--bad)", "x", 10),
    "not judged": Mark("var(--chart-muted)", "circle-open", 10),
    "baseline": Mark(FOREGROUND, "star", 12),
    "arithmetic": Mark("var(--same)", "circle", 11),
    "memory": Mark("var(--good)", "square", 10),
    "overhead": Mark("var(--open)", "diamond-open", 11),
    "above the limit": Mark("var(--chart-muted)", "circle-open", 11),
}


def label(text: object) -> str:
    """Return text that plotly shows as it is: its pseudo-HTML, entities and templates are disarmed."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("%{", "&#37;{")


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a long name: what tells variants apart stands at its ends."""
    if len(text) <= length:
        return text
    head = (length - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def base_layout(height: int, **more: Any) -> go.Layout:
    """Return the layout all charts share: no background, no legend of plotly's own, the page's font."""
    return go.Layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 64, "r": 24, "t": 12, "b": 56},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": FOREGROUND},
        hoverlabel={
            "align": "left",
            "bgcolor": "var(--chart-hover)",
            "bordercolor": "var(--chart-muted)",
            "font": {"family": FONT, "size": 12.5, "color": FOREGROUND},
            "namelength": -1,
        },
        hovermode="closest",
        showlegend=False,
        dragmode=False,
        **more,
    )


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return a quiet axis with a title."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": MUTED}, "standoff": 12},
        "gridcolor": GRID,
        "zeroline": False,
        "tickfont": {"color": MUTED, "size": 12},
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def log_axis(values: Sequence[float], title: str, suffix: str = "", pad: float = 0.08) -> dict[str, Any]:
    """Return a logarithmic axis that holds all positive ``values``, with round numbers at its ticks."""
    finite = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = math.log10(min(finite)), math.log10(max(finite))
    room = max(pad * (high - low), 0.02)
    span = (low - room, high + room)
    ticks = round_ticks(10 ** span[0], 10 ** span[1])
    return axis(
        title,
        type="log",
        range=list(span),
        tickvals=ticks,
        ticktext=[f"{tick:g}{suffix}" for tick in ticks],
        tickangle=0,
        minor={"showgrid": False},
    )


def fewer_ticks(log: dict[str, Any], most: int = 5) -> dict[str, Any]:
    """Return what to change in a ``log_axis`` where there is little room."""
    low, high = log["range"]
    ticks = round_ticks(10**low, 10**high, most)
    suffix = log["ticktext"][0].lstrip("0123456789.e+-") if log["ticktext"] else ""
    return {"tickvals": ticks, "ticktext": [f"{tick:g}{suffix}" for tick in ticks]}


def round_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Return up to about ``most`` round numbers between two positive ones, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step * 10.0**d:.6g}") for d in decades for step in steps]
        inside = [t for t in ticks if low <= t <= high]
        if len(inside) <= most:
            break
    if len(inside) >= 3:
        return inside[:: math.ceil(len(inside) / most)]  # many decades: every second, third ...
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(f for f in (5, 2, 1) if f == 1 or (high - low) / (f * step) >= 2)
    first = math.ceil(low / step)
    return [float(f"{n * step:.6g}") for n in range(first, math.floor(high / step) + 1)]


def rows_layout(names: Sequence[str], values: Sequence[str], xaxis: dict[str, Any]) -> go.Layout:
    """Return the layout of a chart with one row a variant, first on top, at y = 0, 1, 2 …

    Names stand left and values right of the plot. On a narrow screen (``meta.narrow``, applied by report.js) both
    stand above each row, so that the plot keeps its width.
    """
    count = len(names)
    yaxis = {
        "range": [count - 0.4, -0.6],
        "tickvals": list(range(count)),
        "ticktext": [label(shorten(name, WIDE_LABEL)) for name in names],
        "tickfont": {"color": FOREGROUND, "size": 13},
        "showgrid": False,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 8,
        "tickcolor": "rgba(0,0,0,0)",
        "automargin": True,
        "fixedrange": True,
    }
    layout = base_layout(WIDE_ROW * count + 76, xaxis=xaxis, yaxis=yaxis)
    longest = max((len(value) for value in values), default=0)
    layout.margin = {"l": 120, "r": 24 + 7 * longest, "t": 8, "b": 60}
    layout.annotations = [_beside(value, row) for row, value in enumerate(values)]
    layout.meta = {
        "narrow": {
            "height": NARROW_ROW * count + 84,
            "margin": {"l": 7, "r": 7, "t": 14, "b": 60},
            "xaxis": fewer_ticks(xaxis) if xaxis.get("type") == "log" else {"nticks": 5},
            "yaxis": {"showticklabels": False, "ticks": "", "automargin": False, "range": [count - 0.5, -0.8]},
            "annotations": [
                note
                for row, (name, value) in enumerate(zip(names, values, strict=True))
                for note in _above(name, value, row)
            ],
        }
    }
    return layout


def vertical(x: float) -> dict[str, Any]:
    """Return a line across all rows, such as the baseline's at 1."""
    line = {"color": MUTED, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def band(margin: float) -> dict[str, Any]:
    """Return the margin around 1 as a shaded band across all rows."""
    ends = {"x0": 1 / (1 + margin), "x1": 1 + margin, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "rect", "fillcolor": GRID, "line": {"width": 0}, "layer": "below", **ends}


def _beside(text: str, row: int) -> dict[str, Any]:
    font = {"size": 12.5, "color": FOREGROUND}
    place = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 10, "y": row, "yanchor": "middle"}
    return {"text": label(text), "showarrow": False, "font": font, **place}


def _above(name: str, value: str, row: int) -> list[dict[str, Any]]:
    common = {"showarrow": False, "xref": "paper", "y": row, "yshift": 22, "yanchor": "middle"}
    short = shorten(name, max(12, NARROW_LINE - len(value)))
    return [
        {
            **common,
            "text": label(short),
            "x": 0,
            "xanchor": "left",
            "xshift": -8,
            "font": {"size": 11, "color": FOREGROUND},
        },
        {**common, "text": label(value), "x": 1, "xanchor": "right", "xshift": 6, "font": {"size": 11, "color": MUTED}},
    ]
