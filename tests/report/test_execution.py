"""What really ran, in the report: the chart, the sentences and the table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.report.execution import executed, fallbacks
from harness.report.page import render
from harness.report.reasons import reasons
from harness.report.rows import report_df
from harness.report.table import table
from harness.store import read_run
from tests.executed_run import executed_run
from tests.report.rows_by_hand import baseline, frame, variant
from tests.report.test_page import Page

DYNAMIC = "onnxruntime-dynamic-int8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return executed_run(tmp_path_factory.mktemp("executed") / "run-1")


@pytest.fixture(scope="module")
def rows(folder: Path) -> pd.DataFrame:
    return report_df(read_run(folder))


def test_every_bar_is_the_whole_of_a_trials_operators(rows: pd.DataFrame) -> None:
    figure = executed(rows)
    assert figure is not None
    assert [bar.name for bar in figure.data] == ["float32", "int8", "other operators", "conversions"]
    told = int(rows["execution_source"].notna().sum())
    assert [sum(bar.x[i] for bar in figure.data) for i in range(told)] == pytest.approx([100.0] * told)
    assert figure.layout.barmode == "stack"
    values = [a.text for a in figure.layout.annotations]
    assert values[0] == "int8 100 %"
    assert values[-1] == "float32 100 %"


def test_a_trial_that_told_nothing_has_no_bar_and_no_told_trials_no_chart(rows: pd.DataFrame) -> None:
    figure = executed(rows)
    assert figure is not None
    assert "torch-bf16" not in figure.layout.yaxis.ticktext
    assert executed(rows[rows["trial"] == "torch-bf16"]) is None
    assert executed(frame(baseline(), variant("fast", 2.0))) is None


def test_hovering_lists_operators_and_fallbacks_without_markup(rows: pd.DataFrame) -> None:
    operators = [
        {"name": f"<b>op{i}", "format": "int8", "kind": "compute", "share": 0.1, "count": 2} for i in range(10)
    ]
    evil = rows[rows["trial"] == "torch-fp16"].copy()
    evil["execution_operators"] = [operators]
    figure = executed(evil)
    assert figure is not None
    [text] = figure.data[0].hovertext
    assert "&lt;b&gt;op0 int8: 10.0 %, 2 a call" in text
    assert "and 4 more operators" in text
    assert "oneDNN has no float16 convolution here" in text


def test_what_did_not_run_as_asked_is_a_sentence_each(rows: pd.DataFrame) -> None:
    assert fallbacks(rows) == (
        f"{DYNAMIC}: quantize.dynamic-int8 reached 20 of 21 layers",
        "torch-fp16: oneDNN has no float16 convolution here: 20 layers ran in float32",
    )


def test_variants_with_one_sentence_stand_together() -> None:
    known = {"why": "nobody asked", "why_rule": "unexplained", "why_against": "torch"}
    rows = frame(
        baseline(),
        variant("a", 0.5, "slower", why_ratio=0.5, **known),
        variant("b", 0.9, "same", why_ratio=0.9, **known),
    )
    [reason] = reasons(rows)
    assert (reason.subject, reason.sentence) == ("b, 0.900× over torch; a, 0.500× over torch", "nobody asked")


def test_the_page_has_the_section_its_sentences_and_columns(folder: Path) -> None:
    words = " ".join(" ".join(Page(render(read_run(folder))).words).split())
    assert "What really ran" in words
    assert re.search(rf"{DYNAMIC}, 0.4\d+× over onnxruntime 86 % of the operators' time is in ConvInteger", words)
    assert "what it executed is not known (the profiler of torch failed)" in words
    assert words.count("Why not faster") == 1
    assert "int8 100 %, conversions 8 %" in words
    assert "20 of 21" in words


def test_the_verdict_on_quality_shows_what_stands_behind_it(rows: pd.DataFrame) -> None:
    made = table(rows)
    titles = [heading.title for heading in made.headings]
    [row] = [r for r in made.rows if r.cells[0].text == "onnxruntime-static-int8"]
    note = row.cells[titles.index("change")].note
    assert note.startswith("Bonett-Price interval [")
    assert "exact McNemar p < 0.001" in note
    assert "% of the answers changed" in note
    assert re.search(r"worst class 6: −\d+\.\d pt \(n = 100\)", note)
    assert row.cells[titles.index("what ran")].note == "asked for int8; a profile"
