"""Names under points of a scatter chart, placed so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.style import FOREGROUND, MUTED, WIDE_LABEL, label, shorten

WIDTH, HEIGHT = 740.0, 330.0  # pixels of the plot that names are placed for
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


def flags(points: Sequence[Flag], x_range: tuple[float, float], y_range: tuple[float, float]) -> list[dict[str, Any]]:
    """Return an annotation under each interval, the important ones first; names without room are left out.

    An unimportant name also gives way to the intervals of other points.
    """
    placed: list[tuple[_Box, Flag]] = []
    for flag in sorted(points, key=lambda f: not f.important):
        box = _box(flag, x_range, y_range)
        crossed = any(_crosses(box, other, x_range, y_range) for other in points if other is not flag)
        if any(box.covers(other) for other, _ in placed) or (crossed and not flag.important):
            continue
        placed.append((box, flag))
    return [_annotation(box, flag, x_range) for box, flag in placed]


def _box(flag: Flag, x_range: tuple[float, float], y_range: tuple[float, float]) -> _Box:
    width = CHARACTER * len(shorten(flag.name, WIDE_LABEL))
    left = min(max(_across(flag.x, x_range) - width / 2, 0.0), WIDTH - width)
    return _Box(left, left + width, _down(flag.low, y_range) + GAP)


def _crosses(box: _Box, other: Flag, x_range: tuple[float, float], y_range: tuple[float, float]) -> bool:
    x, top, bottom = _across(other.x, x_range), _down(other.high, y_range), _down(other.low, y_range)
    return box.left - 3 < x < box.right + 3 and top < box.top + LINE and box.top < bottom


def _annotation(box: _Box, flag: Flag, x_range: tuple[float, float]) -> dict[str, Any]:
    middle = _across(flag.x, x_range)
    return {
        "x": flag.x,
        "y": flag.low,
        "text": label(shorten(flag.name, WIDE_LABEL)),
        "showarrow": False,
        "yanchor": "top",
        "yshift": -2,
        "xanchor": "center",
        "xshift": round((box.left + box.right) / 2 - middle, 1),
        "font": {"size": 12, "color": FOREGROUND if flag.important else MUTED},
    }


def _across(x: float, x_range: tuple[float, float]) -> float:
    return WIDTH * (x - x_range[0]) / (x_range[1] - x_range[0])


def _down(y: float, y_range: tuple[float, float]) -> float:
    return HEIGHT * (y_range[1] - y) / (y_range[1] - y_range[0])
