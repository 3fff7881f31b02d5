"""Rows in, traces out."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from harness.report import figures
from harness.report.flags import Flag, Plot, flags
from harness.report.rows import metric_of
from harness.report.style import label, log_axis, round_ticks, shorten
from harness.report.traces import hover
from tests.report.rows_by_hand import baseline, ended, frame, technique, unjudged, variant

ROWS = frame(
    ended("dead", "crashed", "SIGSEGV"),
    baseline(),
    variant("fast", 4.0, kept="inconclusive", quality=0.85, **technique(2.0)),
    variant("ort", 2.0, role="plain", passes=""),
    variant("slow", 0.5, "slower", quality=0.95),
)


def traces(figure: go.Figure | None) -> dict[str, Any]:
    assert figure is not None
    return {trace.name: trace for trace in figure.data if trace.name}


def ticks(figure: go.Figure | None) -> list[str]:
    assert figure is not None
    return list(figure.layout.yaxis.ticktext)


def test_the_trade_off_has_a_trace_a_verdict_and_marks_the_front() -> None:
    drawn = traces(figures.tradeoff(ROWS))
    assert set(drawn) == {"Pareto front", "accuracy kept", "accuracy inconclusive", "baseline"}
    assert list(drawn["accuracy kept"].x) == [2.0, 0.5]
    assert list(drawn["accuracy kept"].y) == [90.0, 95.0]
    assert list(drawn["Pareto front"].x) == [0.5, 2.0, 4.0]
    assert list(drawn["baseline"].x) == [1.0]
    assert drawn["accuracy kept"].error_y.array == pytest.approx([2.0, -3.0])
    assert drawn["accuracy kept"].error_x.arrayminus == pytest.approx([0.1, 0.025])


def test_a_front_of_one_point_is_no_line() -> None:
    assert "Pareto front" not in traces(figures.tradeoff(frame(baseline(), variant("a", 2.0))))


def test_verdicts_differ_in_color_and_in_shape() -> None:
    for figure in (figures.tradeoff(ROWS), figures.forest(ROWS)):
        looks = [(t.marker.color, t.marker.symbol) for t in traces(figure).values() if t.mode == "markers"]
        assert len({color for color, _ in looks}) == len({symbol for _, symbol in looks}) == len(looks)


def test_without_quality_there_is_no_trade_off_but_a_forest() -> None:
    rows = frame(unjudged(baseline()), unjudged(variant("a", 2.0)))
    assert figures.tradeoff(rows) is None
    assert ticks(figures.forest(rows)) == ["a", "torch"]


def test_the_forest_is_sorted_with_the_baseline_in_its_place_and_values_beside() -> None:
    figure = figures.forest(ROWS)
    assert ticks(figure) == ["fast", "ort", "torch", "slow"]
    assert [note.text for note in figure.layout.annotations] == [
        "4.00× [3.80, 4.20]", "2.00× [1.90, 2.10]", "1×", "0.500× [0.475, 0.525]",
    ]  # fmt: skip
    assert list(traces(figure)["slower"].y) == [3]


def test_on_a_narrow_screen_names_stand_above_their_rows() -> None:
    narrow = figures.forest(ROWS).layout.meta["narrow"]
    assert narrow["yaxis"]["showticklabels"] is False
    assert [note["text"] for note in narrow["annotations"]][:2] == ["fast", "4.00× [3.80, 4.20]"]


def test_engines_start_at_the_plain_row_and_end_at_the_variant() -> None:
    drawn = traces(figures.engines(ROWS))
    assert list(drawn["the engine alone"].x) == [2.0]
    assert list(drawn["with the technique"].x) == [4.0]
    assert figures.engines(frame(baseline(), variant("a", 2.0))) is None


def test_a_distribution_never_embeds_all_samples() -> None:
    samples = {"torch": [np.linspace(1e-3, 2e-3, 5000)] * 3, "a": [np.array([5e-4, 6e-4])]}
    drawn = traces(figures.latencies(samples, "torch"))
    assert len(drawn["torch"].x) == figures.POINTS
    assert list(drawn["a"].x) == pytest.approx([0.525, 0.575])
    assert list(drawn["a"].y) == [25.0, 75.0]
    assert drawn["torch"].line.color == "var(--chart-text)"
    assert figures.latencies({}) is None
    assert figures.latencies({"a": []}) is None


def test_distributions_of_many_trials_differ_in_color_or_dash() -> None:
    samples = {f"v{n}": [np.array([1e-3, 2e-3])] for n in range(20)}
    lines = [(t.line.color, t.line.dash) for t in traces(figures.latencies(samples)).values()]
    assert len(set(lines)) == 20


def test_memory_is_over_the_floor_and_size_in_a_unit_that_fits() -> None:
    drawn = traces(figures.memory(ROWS))
    assert list(drawn["while loading"].x) == [10.0] * 4
    assert list(drawn["at inference"].x) == [20.0] * 4
    size = figures.sizes(ROWS)
    assert list(size.data[0].x) == [400.0] * 4
    assert size.layout.xaxis.title.text == "artifact on disk in kB"


def test_nothing_measured_draws_nothing() -> None:
    rows = frame({**ended("torch", "crashed", "x"), "role": "baseline"})
    for draw in (figures.tradeoff, figures.forest, figures.engines, figures.memory, figures.sizes):
        assert draw(rows) is None


def test_a_hover_tells_everything() -> None:
    text = hover(ROWS.iloc[2], metric_of(ROWS))
    for fact in (
        "<b>fast</b>", "int8 on ort", "4.00× [3.80, 4.20] faster (40 rounds, 5 replicates)",
        "accuracy 85.0 % [88.0, 92.0] (n = 400)", "inconclusive", "1.00 ms",
        "20.0 MB over a floor of 50.0 MB", "400 kB",
    ):  # fmt: skip
        assert fact in text


def test_text_of_the_user_is_no_markup_and_no_template() -> None:
    assert label("<b>x</b> & %{y}\n") == "&lt;b&gt;x&lt;/b&gt; &amp; &#37;{y}"
    evil = '<a href="javascript:alert(1)">x</a>'
    rows = frame(
        baseline(), variant(evil, 2.0, passes=evil, **technique(2.0)), variant("ort", 1.5, role="plain", passes="")
    )
    drawn = [
        figures.tradeoff(rows),
        figures.forest(rows),
        figures.engines(rows),
        figures.memory(rows),
        figures.sizes(rows),
    ]
    drawn.append(figures.latencies({evil: [np.array([1e-3])]}))
    for figure in drawn:
        assert "<a" not in figure.to_json()
        assert "&lt;a" in figure.to_json()


def test_a_long_name_keeps_both_ends() -> None:
    assert shorten("onnxruntime-pruned-static-int8", 21) == "onnxruntim…tatic-int8"
    assert len(shorten("x" * 99, 44)) == 44
    assert shorten("short", 44) == "short"


@pytest.mark.parametrize(("low", "high"), [(0.2, 20), (0.98, 1.03), (1e-6, 1e3), (1.0, 1.001), (0.9, 5)])
def test_ticks_are_few_and_lie_within(low: float, high: float) -> None:
    found = round_ticks(low, high)
    assert 2 <= len(found) <= 9
    assert all(low <= tick <= high for tick in found)


def test_an_axis_of_one_value_has_room() -> None:
    low, high = log_axis([1.0], "x")["range"]
    assert low < 0 < high


def test_names_never_cover_each_other_and_important_ones_come_first() -> None:
    points = [Flag("a" * 20, 0.50, 0.2, 0.8), Flag("b" * 20, 0.52, 0.2, 0.8, important=True), Flag("c", 0.1, 0.2, 0.8)]
    assert [note["text"] for note in flags(points, Plot((0, 1), (0, 1), 700))] == ["b" * 20, "c"]
