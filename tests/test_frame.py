from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.errors import StoreError, UserError
from harness.frame import COLUMNS
from harness.schema import Energy, GpuUse, Memory, Status, Unmeasured, Utilization
from harness.store import RunWriter
from tests.run_folder import BASELINE, CALLS, INT8, PLAIN, ROUNDS, Folder, Row


def load(folder: Folder, tmp_path: Path) -> pd.DataFrame:
    return harness.load(folder.write(tmp_path / "run")).set_index("trial", drop=False)


def test_there_is_one_row_a_trial_however_it_ended(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)], [(INT8, Status.OOM, "too big")]), tmp_path)
    assert sorted(frame["trial"]) == ["ort", "ort-int8", "torch"]
    assert dict(frame["status"]) == {"ort-int8": "oom", "torch": "ok", "ort": "ok"}
    assert frame.loc["ort-int8", "reason"] == "too big"
    assert {column.name for column in COLUMNS} <= set(frame.columns)


def test_units_are_si_and_batches_count_as_examples(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0)]), tmp_path).loc["torch"]
    assert row["latency_p50_s"] == pytest.approx(0.002, rel=0.002)
    assert row["latency_p50_low_s"] <= row["latency_p50_s"] <= row["latency_p50_high_s"]
    assert row["throughput_per_s"] == pytest.approx(4 / 0.002, rel=0.002)
    assert row["throughput_low_per_s"] <= row["throughput_per_s"] <= row["throughput_high_per_s"]


def test_parts_of_the_record_become_columns(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(INT8, 1.0)]), tmp_path).loc["ort-int8"]
    assert (row["load_s"], row["first_call_s"]) == (0.2, 0.02)  # medians over replicates
    assert row["build_s"] == 1.5  # without the making of the reference model
    assert (row["inference_over_floor_bytes"], row["artifact_bytes"]) == (150, 1000)
    assert (row["passes"], row["threads_actual"], row["replicates"]) == ("int8", 1, 3)
    assert (row["quality"], row["quality_n"]) == (0.75, 400)
    assert row["quality_low"] < 0.75 < row["quality_high"]


def test_a_tail_of_too_few_samples_is_missing_with_its_reason(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0)]), tmp_path).loc["torch"]
    assert pd.isna(row["latency_p99_s"])
    assert row["missing"]["latency_p99_s"] == f"p99 needs 1000 samples a replicate, has {CALLS * ROUNDS}"


def test_what_was_not_measured_is_missing_with_its_reason(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 2.0)], [(INT8, Status.CRASHED, "killed by SIGSEGV")]), tmp_path)
    crashed, fine = frame.loc["ort-int8"], frame.loc["torch"]
    for column in ("latency_p50_s", "throughput_per_s", "load_s", "artifact_bytes", "quality", "startup_s"):
        assert pd.isna(crashed[column])
        assert crashed["missing"][column]
        assert column not in fine["missing"]
    assert crashed["missing"]["latency_p50_s"] == "it crashed"
    assert fine["missing"]["energy_j"] == "no counter"
    assert fine["missing"]["precision_actual"] == "the runtime does not say"


def use(cores: float, waited: float | Unmeasured = 0.0, gpu: GpuUse | Unmeasured | None = None) -> Utilization:
    return Utilization(1.0, 50, 20, cores, waited, {0: cores}, gpu)


def test_energy_and_use_of_the_machine_become_columns(tmp_path: Path) -> None:
    energy = Energy(0.25, 10.0, 1.0, 40, "rapl:package-0", "whole package")
    gpu = GpuUse("G", 20, 0.8, 0.3, 250.0, 1.7e9, Unmeasured("not supported"), {"power cap": 0.5})
    row = load(Folder([Row(BASELINE, 2.0, energy=energy, utilization=use(1.5, gpu=gpu))]), tmp_path).loc["torch"]
    assert (row["energy_j"], row["energy_source"], row["energy_scope"]) == (0.25, "rapl:package-0", "whole package")
    assert (row["utilization"], row["utilization_per_core"], row["utilization_disturbed"]) == (1.5, {0: 1.5}, False)
    assert (row["gpu_sm_utilization"], row["gpu_power_w"], row["gpu_throttling"]) == (0.8, 250.0, {"power cap": 0.5})
    assert row["missing"]["device_memory_bytes"] == "no counter"


def test_a_part_that_was_not_measured_has_its_own_reason(tmp_path: Path) -> None:
    memory = Memory(100, 300, 250, 90, Unmeasured("no smaps"), Unmeasured("too slow"))
    rows = [Row(BASELINE, 2.0, utilization=use(1.0), memory=memory), Row(PLAIN, 1.0, utilization=use(1.0, gpu=LOST))]
    frame = load(Folder(rows), tmp_path)
    torch, ort = frame.loc["torch"], frame.loc["ort"]
    assert torch["pss_bytes"] == 90
    assert (torch["missing"]["uss_bytes"], torch["missing"]["growth_bytes_per_call"]) == ("no smaps", "too slow")
    assert torch["missing"]["gpu_power_w"] == "the trial uses no GPU"
    assert ort["missing"]["gpu_power_w"] == "GPU is lost"


LOST = Unmeasured("GPU is lost")


@pytest.mark.parametrize(
    ("threads", "use_", "note"),
    [
        (2, use(1.03), "asked for 2 threads, used 1.03 cores"),
        (2, use(1.03, Unmeasured("-")), "asked for 2 threads, used 1.03 cores"),
        (2, use(0.6, 1.3), "asked for 2 threads, used 0.60 cores and waited for 1.30 that others had"),
        (2, use(1.2), None),
        (1, use(0.3), None),
        (2, Unmeasured("off"), None),
    ],
)
def test_far_fewer_cores_than_threads_are_noted(
    tmp_path: Path, threads: int, use_: Utilization | Unmeasured, note: str | None
) -> None:
    trial = replace(BASELINE, threads=threads)
    found = load(Folder([Row(trial, 2.0, utilization=use_)]), tmp_path).loc["torch", "utilization_note"]
    assert found == note


@pytest.mark.parametrize(("growth", "noted"), [(0.0, False), (1024.0, False), (-9e9, False), (4096.0, True)])
def test_growth_with_every_call_is_noted(tmp_path: Path, growth: float, noted: bool) -> None:
    memory = Memory(100, 300, 250, 90, 80, growth)
    note = load(Folder([Row(BASELINE, 2.0, memory=memory)]), tmp_path).loc["torch", "leak_note"]
    assert (note == "grows by 4.10 kB with each call: a leak, or a cache that fills") is noted
    assert (note is None) is not noted


def test_latencies_come_from_clean_rounds(tmp_path: Path) -> None:
    dirty = {(replicate, round_) for replicate in range(3) for round_ in range(0, ROUNDS, 2)}
    row = load(Folder([Row(BASELINE, 2.0, dirty_ms=20.0)], dirty=dirty), tmp_path).loc["torch"]
    assert row["latency_p50_s"] == pytest.approx(0.002, rel=0.01)
    assert row["throughput_per_s"] == pytest.approx(4 / 0.002, rel=0.01)


def test_a_run_without_records_is_an_empty_frame_with_columns(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run", {"experiments": []})
    frame = harness.load(tmp_path)
    assert len(frame) == 0
    assert {"trial", "status"} <= set(frame.columns)


def test_a_folder_without_runs_is_an_empty_frame_and_no_folder_is_an_error(tmp_path: Path) -> None:
    assert len(harness.load(tmp_path)) == 0
    with pytest.raises(UserError, match="harness run SUITE makes results"):
        harness.load(tmp_path / "nothing")


def test_samples_that_are_gone_or_damaged_are_a_store_error(tmp_path: Path) -> None:
    directory = Folder([Row(BASELINE, 2.0)]).write(tmp_path / "run")
    for file in (directory / "samples" / "e").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="cannot be read"):
        harness.load(directory)
    for file in (directory / "samples" / "e").iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="samples"):
        harness.load(directory)
