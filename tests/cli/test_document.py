from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from harness.cli.document import document, plain
from harness.schema import Status, Trial
from harness.store import read_run
from harness.verdicts import run_df
from tests.run_folder import BASELINE, INT8, PLAIN, Folder, Row


def test_a_run_as_a_document_has_no_nan_and_says_why_values_are_missing(tmp_path: Path) -> None:
    broken = (Trial("broken", "e", "net", "ort"), Status.CRASHED, "killed by SIGSEGV")
    folder = Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(INT8, 0.5)], failed=[broken]).write(tmp_path / "r")
    run = read_run(folder)
    shown = document(run, run_df(run))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["run"] == "r"
    assert shown["complete"] is True
    assert shown["resumed_at"] is None
    rows = {row["trial"]: row for row in shown["rows"]}
    assert set(rows) == {"torch", "ort", "ort-int8", "broken"}
    assert rows["ort-int8"]["speedup"] > 3
    assert rows["broken"]["speedup"] is None
    assert rows["broken"]["missing"]["speedup"] == "it crashed"
    assert rows["torch"]["quality_change"] is None


def test_a_run_without_records_is_a_document_too(tmp_path: Path) -> None:
    folder = Folder([Row(BASELINE, 2.0)]).write(tmp_path / "r")
    (folder / "records.jsonl").unlink()
    run = read_run(folder)
    shown = document(run, run_df(run))
    assert shown["rows"] == []
    assert shown["complete"] is False


def test_values_become_what_json_knows() -> None:
    assert plain({"a": np.float64("nan"), 1: (np.int64(2), np.bool_(True), float("inf")), "b": None}) == {
        "a": None,
        "1": [2, True, None],
        "b": None,
    }
