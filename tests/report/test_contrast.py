"""The colors of both themes: text against its ground meets WCAG AA, marks of charts meet its 3 to 1."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).parents[2] / "harness/report/templates/report.css").read_text(encoding="utf-8")
TEXT = [
    *((ink, ground) for ink in ("text", "muted", "link") for ground in ("ground", "raised")),
    *((verdict, f"{verdict}-ground") for verdict in ("good", "bad", "same", "open")),
    ("chart-text", "chart-ground"), ("chart-muted", "chart-ground"), ("chart-text", "chart-hover"),
]  # fmt: skip
MARKS = [(mark, "chart-ground") for mark in ("good", "bad", "same", "open", "bar-1", "line-0", "line-1", "line-2")]


def colors(theme: str) -> dict[str, str]:
    selector = r":root\[data-theme=\"dark\"\]" if theme == "dark" else ":root"
    block = re.search(selector + r" \{(.*?)\}", CSS, re.DOTALL)
    assert block
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block[1]))


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_stand_out(theme: str) -> None:
    known = colors(theme)
    weak = {pair: round(contrast(known[pair[0]], known[pair[1]]), 2) for pair in TEXT}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    faint = {pair: round(contrast(known[pair[0]], known[pair[1]]), 2) for pair in MARKS}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 3} == {}


def test_both_themes_know_the_same_colors() -> None:
    assert colors("light").keys() == colors("dark").keys()
