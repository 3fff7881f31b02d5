"""What really ran, as columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.execution import NO_FORMAT, NOT_COUNTED, what_ran
from harness.schema import Step, Unmeasured
from tests.run_folder import BASELINE, INT8, Folder, Row, executed

STATIC = executed(
    ("QLinearConv", "int8", "compute", 0.60),
    ("Conv", "float32", "compute", 0.20),
    ("Add", "float32", "other", 0.10),
    ("DequantizeLinear", "int8", "conversion", 0.10),
    fallbacks=("Softmax ran in float32",),
    graph_breaks=2,
)


def load(tmp_path: Path, **known: object) -> pd.Series:
    folder = Folder([Row(BASELINE, 2.0), Row(INT8, 1.0, **known)])  # type: ignore[arg-type]
    return harness.load(folder.write(tmp_path / "run")).set_index("trial").loc["ort-int8"]


def test_shares_of_formats_are_of_the_computing_operators_and_conversions_of_all(tmp_path: Path) -> None:
    row = load(tmp_path, execution=STATIC, asked="int8")
    assert (row["precision_requested"], row["executed_format"]) == ("int8", "int8")
    assert row["executed_share"] == pytest.approx(0.75)
    assert row["executed_formats"] == pytest.approx({"int8": 0.75, "float32": 0.25})
    assert (row["conversion_share"], row["outside_share"]) == (pytest.approx(0.1), 0.1)
    assert (row["execution_source"], row["execution_basis"], row["execution_calls"]) == ("a profile", "time", 20)
    assert row["execution_fallbacks"] == ["Softmax ran in float32"]
    assert row["graph_breaks"] == 2
    assert row["execution_operators"][0] == {
        "name": "QLinearConv", "format": "int8", "kind": "compute", "share": 0.6, "count": 1
    }  # fmt: skip
    assert what_ran(row) == "int8 75 %, float32 25 %, conversions 10 %"


def test_where_only_the_number_of_operators_is_known_that_is_said(tmp_path: Path) -> None:
    counted = executed(("qconv", "int8", "compute", 1.0), basis="count", outside_share=Unmeasured("no times"))
    row = load(tmp_path, execution=counted)
    assert what_ran(row) == "int8 100 % (by count)"
    assert row["missing"]["outside_share"] == "no times"


def test_a_runtime_that_does_not_tell_its_formats_leaves_them_missing(tmp_path: Path) -> None:
    row = load(tmp_path, execution=executed(("MatMul", "", "compute", 1.0)))
    assert pd.isna(row["executed_format"])
    assert row["missing"]["executed_format"] == NO_FORMAT
    assert what_ran(row) == "unknown 100 %"


def test_what_nobody_watched_is_missing_with_its_reason(tmp_path: Path) -> None:
    row = load(tmp_path, execution=Unmeasured("the profiler failed"))
    for column in ("executed_format", "executed_share", "conversion_share", "outside_share", "execution_source"):
        assert pd.isna(row[column])
        assert row["missing"][column] == "the profiler failed"
    assert what_ran(row) == ""


def test_layers_and_bytes_come_from_the_passes_that_counted_them(tmp_path: Path) -> None:
    steps = (
        Step("prune.channels", 1.0, "", 5, 5, 1000, 500),
        Step("train.finetune", 1.0),
        Step("quantize.dynamic-int8", 1.0, "", 1, 21, 500, 400),
    )
    row = load(tmp_path, steps=steps)
    assert (row["layers_changed"], row["layers_total"]) == (1, 21)
    assert (row["bytes_before"], row["bytes_after"]) == (1000, 400)
    assert row["partial_note"] == "quantize.dynamic-int8 reached 1 of 21 layers"


def test_a_trial_without_passes_has_no_layers_changed(tmp_path: Path) -> None:
    row = load(tmp_path)
    assert pd.isna(row["layers_changed"])
    assert row["missing"]["layers_changed"] == NOT_COUNTED
    assert row["partial_note"] is None
