"""The columns of the roofline, on records whose place is known."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.frame import records_df
from harness.roofline import NOT_MEASURED, roofline_columns
from harness.schema import Artifact, Fidelity, Record, Status, Trial, Unmeasured, Work
from harness.store import read_run
from tests.run_folder import BASELINE, Folder, Row
from tests.test_peaks import PEAKS

WORK = Work(1e9, 1e6, 1e6, 8_000_000, "float32", "by hand", ("relu",))  # batch 4: 4e9 operations on 16 MB
SECONDS = 0.08  # 50 GFLOP/s, half of the peak


def record(work: Work | Unmeasured = WORK, **more: Any) -> Record:
    artifact = Artifact("k", "f", {}, 1, 1, (), Fidelity.RUNTIME, {}, work=work)
    trial = Trial("t", "e", "net", "torch", batch_size=4)
    made = Record("r", trial, Status.OK, "host-a", "", artifact=artifact, actual={"precision": "float32"})
    return replace(made, **more)


def columns(made: Record, seconds: float | None = SECONDS, peaks: Any = None) -> tuple[dict[str, Any], dict[str, str]]:
    missing: dict[str, str] = {}
    return roofline_columns(made, seconds, {1: PEAKS} if peaks is None else peaks, missing), missing


def test_a_call_of_known_work_stands_where_the_hand_puts_it() -> None:
    row, missing = columns(record())
    assert row == {
        "flops": 4e9,
        "bytes_moved": 16e6,
        "arithmetic_intensity": 250.0,
        "attained_flops_per_s": pytest.approx(50e9),
        "roofline_format": "float32",
        "roofline_limit_flops_per_s": 100e9,
        "roofline_share": pytest.approx(0.5),
        "bound_by": "arithmetic",
    }
    assert missing == {}


def test_int8_is_held_to_the_peak_of_int8() -> None:
    row, _ = columns(record(actual={"precision": "int8"}))
    assert (row["roofline_format"], row["roofline_limit_flops_per_s"]) == ("int8", 400e9)
    assert row["roofline_share"] == pytest.approx(0.125)


@pytest.mark.parametrize("said", ["tensor(int64)", "bfloat16+float32", "no parameters"])
def test_where_the_runtime_names_no_single_format_the_weights_do(said: str) -> None:
    row, _ = columns(record(replace(WORK, weight_format="int8"), actual={"precision": said}))
    assert row["roofline_format"] == "int8"


def test_few_operations_a_byte_are_bound_by_memory() -> None:
    work = replace(WORK, flops=1e6, weight_bytes=2_000_000_000)  # larger than any cache: 10 GB/s
    row, _ = columns(record(work), seconds=0.4)
    assert row["bound_by"] == "memory"
    assert row["roofline_share"] == pytest.approx(0.5, rel=0.01)


def test_far_below_the_limit_it_is_overhead() -> None:
    row, _ = columns(record(), seconds=1.0)
    assert (row["bound_by"], row["roofline_share"]) == ("overhead", pytest.approx(0.04))


def test_a_share_above_one_is_missing_with_the_assumption_that_fails() -> None:
    row, missing = columns(record(), seconds=0.02)
    assert row["roofline_share"] is None
    assert row["bound_by"] is None
    assert row["attained_flops_per_s"] == pytest.approx(200e9)  # a fact, as far as the count goes
    assert "200 % of the limit, so an assumption does not hold" in missing["roofline_share"]
    assert "Winograd" in missing["bound_by"]
    _, missing = columns(record(replace(WORK, flops=1e5)), seconds=1e-5)
    assert "16.0 MB of a call stay in a cache" in missing["roofline_share"]


def test_without_peaks_the_work_is_there_and_the_command_is_named() -> None:
    row, missing = columns(record(), peaks={})
    assert row["flops"] == 4e9
    assert row["attained_flops_per_s"] == pytest.approx(50e9)
    assert missing["roofline_share"] == missing["bound_by"] == NOT_MEASURED
    _, missing = columns(record(), peaks={2: PEAKS})
    assert missing["roofline_share"] == "not measured for 1 thread: harness doctor --peaks --threads 1"


def test_each_gap_has_its_reason() -> None:
    _, missing = columns(record(Unmeasured("no formula")))
    assert set(missing.values()) == {"no formula"}
    assert "flops" in missing
    _, missing = columns(record(artifact=Unmeasured("not reached")))
    assert missing["flops"] == "not reached"
    row, missing = columns(record(), seconds=None)
    assert row["flops"] == 4e9
    assert missing["attained_flops_per_s"] == "the latency was not measured"
    _, missing = columns(record(actual={"precision": "bfloat16"}))
    assert missing["roofline_share"] == "torch is not installed"
    _, missing = columns(record(replace(WORK, weight_format="int4"), actual={}))
    assert missing["roofline_share"] == "no peak of int4 is measured here"
    _, missing = columns(record(trial=Trial("t", "e", "net", "torch", device="cuda")))
    assert missing["roofline_share"] == "peaks are measured for the CPU only"


def test_the_frame_has_the_columns_with_the_peaks_of_the_run(tmp_path: Path) -> None:
    folder = Folder([Row(BASELINE, 80.0, work=WORK)], peaks=[asdict(PEAKS)])
    [row] = records_df(read_run(folder.write(tmp_path / "run"))).to_dict(orient="records")
    assert row["roofline_share"] == pytest.approx(0.5, rel=0.01)
    assert row["bound_by"] == "arithmetic"
