"""The roofline of the report: rows in, roofs and points out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.report.method import environment, gaps
from harness.report.page import render
from harness.report.roofline import has_roofline, per_byte, roofline
from harness.report.table import table
from harness.roofline import COLUMNS
from harness.schema import Work
from harness.store import read_run
from tests.report.rows_by_hand import baseline, frame, variant
from tests.run_folder import BASELINE, INT8, Folder, Row
from tests.test_peaks import PEAKS

WORK = Work(1e9, 1e6, 1e6, 8_000_000, "float32", "by hand")


def placed(intensity: float, attained: float, **known: Any) -> dict[str, Any]:
    """Return the columns of a trial under the float32 roof."""
    return {
        "threads": 1,
        "flops": 4e9,
        "bytes_moved": 4e9 / intensity,
        "arithmetic_intensity": intensity,
        "attained_flops_per_s": attained,
        "roofline_format": "float32",
        "roofline_limit_flops_per_s": 100e9,
        "roofline_share": attained / 100e9,
        "bound_by": "arithmetic",
        **known,
    }


WHY = {"roofline_share": "Winograd & co"}
ROWS = frame(
    baseline(**placed(250, 50e9)),
    variant("slow", 0.1, **placed(250, 5e9, bound_by="overhead")),
    variant("int8", 4.0, **placed(500, 200e9, roofline_format="int8", roofline_limit_flops_per_s=400e9)),
    variant(
        "magic",
        5.0,
        **placed(250, 300e9, roofline_share=None, bound_by=None, missing={"roofline_share": "Winograd & co"}),
    ),
    variant("uncounted", 2.0),
)


def test_points_stand_where_they_were_measured_by_what_holds_them_back() -> None:
    figure = roofline(ROWS, {1: PEAKS})
    assert figure is not None
    drawn = {trace.name: trace for trace in figure.data if trace.name}
    assert set(drawn) == {"bound by arithmetic", "bound by overhead", "above the limit"}
    assert list(drawn["bound by arithmetic"].x) == [500, 250]
    assert list(drawn["bound by arithmetic"].y) == [200, 50]  # in Gop/s
    assert "Winograd &amp; co" in drawn["above the limit"].hovertext[0]
    assert len({(t.marker.color, t.marker.symbol) for t in drawn.values()}) == 3


def test_each_format_in_use_has_a_roof_that_begins_at_its_ridge() -> None:
    figure = roofline(ROWS, {1: PEAKS})
    assert figure is not None
    levels = [t for t in figure.data if t.mode == "lines" and t.line.dash == "solid"]
    assert sorted(t.y[0] for t in levels) == pytest.approx([100, 400])
    # Of data as large as these calls move: 16 MB in float32, 8 MB in int8.
    assert [t.x[0] for t in levels] == pytest.approx([100e9 / 20e9, 400e9 / 80e9])
    slopes = [t for t in figure.data if t.mode == "lines" and t.line.dash == "dash"]
    rates = {round(float(y) / float(x), 6) for t in slopes for x, y in zip(t.x, t.y, strict=True)}
    assert rates == {10, 20, 80}  # G bytes a second, memory's own always


def test_names_of_roofs_shrink_on_a_narrow_screen() -> None:
    figure = roofline(ROWS, {1: PEAKS})
    assert figure is not None
    wide = [a.text for a in figure.layout.annotations]
    assert "int8 400 Gop/s" in wide
    assert "float32 100 GFLOP/s" in wide
    assert "memory, 10.0 GB/s" in wide
    assert {a["text"] for a in figure.layout.meta["narrow"]["annotations"]} == {"int8", "float32"}


def test_without_peaks_there_is_no_chart_and_no_column() -> None:
    rows = frame(baseline(), variant("a", 2.0))
    assert roofline(rows, {1: PEAKS}) is None
    assert roofline(ROWS, {}) is None
    assert roofline(ROWS, {2: PEAKS}) is None
    assert not has_roofline(rows)
    assert "bound by" not in [h.title for h in table(rows).headings]


def test_the_table_has_its_columns_where_peaks_are_known() -> None:
    made = table(ROWS)
    titles = [h.title for h in made.headings]
    assert titles[-3:] == ["operations", "of the limit", "bound by"]
    by_name = {row.cells[0].text: row.cells[-3:] for row in made.rows}
    assert [cell.text for cell in by_name["torch"]] == ["4.00 Gop", "50 %", "arithmetic"]
    assert [cell.text for cell in by_name["magic"]] == ["4.00 Gop", "–", "–"]
    assert by_name["magic"][1].note == "Winograd & co"


def test_a_gap_is_told_once_and_not_for_each_column_that_follows() -> None:
    rows = frame(baseline(missing=dict.fromkeys(COLUMNS, "no formula")), variant("a", 2.0))
    [gap] = gaps(rows)
    assert gap.name == "share of the hardware’s limit"
    assert [(trial.name, trial.text) for trial in gap.trials] == [("torch", "no formula")]


@pytest.mark.parametrize(("intensity", "text"), [(1420.0, "1,420"), (99.94, "99.9"), (0.5, "0.5")])
def test_intensities_are_written_without_an_exponent(intensity: float, text: str) -> None:
    assert per_byte(intensity) == text


def test_the_page_says_what_the_peaks_are_or_how_to_measure_them(tmp_path: Path) -> None:
    rows = [Row(BASELINE, 80.0, work=WORK), Row(INT8, 40.0, work=WORK)]
    known = read_run(Folder(rows, peaks=[asdict(replace(PEAKS, busy=True))]).write(tmp_path / "known"))
    facts = {fact.name: fact.text for fact in environment(known)}
    assert facts["peaks of the host"] == (
        "1 thread: float32 100 GFLOP/s, int8 400 Gop/s, data of 1.00 MB 80.0 GB/s, memory 10.0 GB/s "
        "(2026-01-01, on a disturbed host, so they may be too low)"
    )
    assert "The hardware’s limit" in render(known)
    unknown = read_run(Folder(rows).write(tmp_path / "unknown"))
    assert {f.name: f.text for f in environment(unknown)}["peaks of the host"] == "not measured: harness doctor --peaks"
    page = render(unknown)
    assert "The hardware’s limit" not in page
    assert "share of the hardware’s limit" in page


def test_a_point_of_any_size_has_an_axis() -> None:
    tiny = frame(baseline(**placed(0.01, 1e3, roofline_share=1e-8, bound_by="overhead")))
    figure = roofline(tiny, {1: PEAKS})
    assert figure is not None
    assert all(np.isfinite(figure.layout.yaxis.range))
