"""Names under points of a scatter chart, placed so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.style import FOREGROUND, MUTED, WIDE_LABEL, label, shorten

HEIGHT = 330.0  # pixels of the plot that names are placed for
CHARACTER, LINE, GAP = 6.8, 16.0, 5.0  # pixels


@dataclass(frozen=True)
class Flag:
    """A name and where its point's interval lies: ``x`` and ``low`` … ``high`` in the axes' own coordinates."""

    name: str
    x: float
    low: float
    high: float
    important: bool = False


@dataclass(frozen=True)
class _Box:
    left: float
    right: float
    top: float

    def covers(self, other: _Box) -> bool:
        across = self.left - 4 < other.right and other.left < self.right + 4
        return across and abs(self.top - other.top) < LINE


@dataclass(frozen=True)
class Plot:
    """The area that names are placed in: the axes' ranges, and its width in pixels."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: float

    def across(self, x: float) -> float:
        """Return pixels from the left."""
        return self.width * (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])

    def down(self, y: float) -> float:
        """Return pixels from the top."""
        return HEIGHT * (self.y_range[1] - y) / (self.y_range[1] - self.y_range[0])


def flags(points: Sequence[Flag], plot: Plot) -> list[dict[str, Any]]:
    """Return an annotation under each interval, the important ones first; names without room are left out.

    An unimportant name also gives way to the intervals of other points.
    """
    placed: list[tuple[_Box, Flag]] = []
    for flag in sorted(points, key=lambda f: not f.important):
        box = _box(flag, plot)
        crossed = any(_crosses(box, other, plot) for other in points if other is not flag)
        if any(box.covers(other) for other, _ in placed) or (crossed and not flag.important):
            continue
        placed.append((box, flag))
    return [_annotation(box, flag, plot) for box, flag in placed]


def _box(flag: Flag, plot: Plot) -> _Box:
    width = CHARACTER * len(shorten(flag.name, WIDE_LABEL))
    left = min(max(plot.across(flag.x) - width / 2, 0.0), max(plot.width - width, 0.0))
    return _Box(left, left + width, plot.down(flag.low) + GAP)


def _crosses(box: _Box, other: Flag, plot: Plot) -> bool:
    x, top, bottom = plot.across(other.x), plot.down(other.high), plot.down(other.low)
    return box.left - 3 < x < box.right + 3 and top < box.top + LINE and box.top < bottom


def _annotation(box: _Box, flag: Flag, plot: Plot) -> dict[str, Any]:
    return {
        "x": flag.x,
        "y": flag.low,
        "text": label(shorten(flag.name, WIDE_LABEL)),
        "showarrow": False,
        "yanchor": "top",
        "yshift": -2,
        "xanchor": "center",
        "xshift": round((box.left + box.right) / 2 - plot.across(flag.x), 1),
        "font": {"size": 12, "color": FOREGROUND if flag.important else MUTED},
    }
