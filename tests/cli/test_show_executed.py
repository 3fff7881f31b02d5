"""``harness show``: what ran, and why something is not faster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from tests.executed_run import executed_run
from tests.run_folder import BASELINE, INT8, Folder, Row

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def shown(directory: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["show", str(directory), *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_below_the_table_stand_what_ran_and_a_sentence_for_each_that_is_not_faster(tmp_path: Path) -> None:
    text = shown(executed_run(tmp_path / "run"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "onnxruntime-dynamic-int8 int8 int8 100 %, conversions 8 % 20 of 21 10 % a profile" in lines
    assert "torch-fp16 float16 float32 100 %, conversions 35 % - 10 % a profile" in lines
    words = " ".join(lines)
    assert "why not faster" in words
    assert "onnxruntime-dynamic-int8, 0.429× over onnxruntime: 86 % of the operators' time is in ConvInteger" in words
    assert "partial: onnxruntime-dynamic-int8: quantize.dynamic-int8 reached 20 of 21 layers" in words
    assert "other answers than the baseline (exact McNemar): onnxruntime-static-int8" in words
    assert "worst class: onnxruntime-static-int8 class 6 -" in words


def test_the_document_has_the_same_as_values(tmp_path: Path) -> None:
    document = json.loads(shown(executed_run(tmp_path / "run"), "--json"))
    rows = {row["trial"]: row for row in document["rows"]}
    dynamic = rows["onnxruntime-dynamic-int8"]
    assert (dynamic["executed_format"], dynamic["layers_changed"], dynamic["layers_total"]) == ("int8", 20, 21)
    assert dynamic["why_rule"] == "conv-integer"
    assert dynamic["execution_operators"][0]["name"] == "ConvInteger"
    assert rows["torch-bf16"]["missing"]["executed_format"] == "the profiler of torch failed"
    assert rows["onnxruntime-static-int8"]["worst_class"] == 6
    assert rows["torch"]["why"] is None


def test_where_nothing_was_watched_the_reason_stands_once(tmp_path: Path) -> None:
    text = shown(Folder([Row(BASELINE, 2.0), Row(INT8, 1.0)]).write(tmp_path / "run"))
    assert text.count("what ran") == 1
    assert "what ran: nobody watched" in text
    assert "why not faster" not in text


def _version(run: Path) -> int:
    return int(json.loads((run / "records.jsonl").read_text().splitlines()[0])["schema_version"])


@pytest.mark.parametrize("run", sorted(p.parent.name for p in PUBLISHED.glob("*/records.jsonl")))
def test_published_runs_of_every_version_are_shown(run: str) -> None:
    text = " ".join(shown(PUBLISHED / run).split())
    unasked = "what it executed is not known (version 2 did not ask the runtime)" in text
    assert unasked == (_version(PUBLISHED / run) < 3)
    assert ("what ran: version 2 did not ask the runtime" in text) == unasked
