from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import StoreError, UserError
from harness.peak_kernels import Effort, best_seconds
from harness.peaks import Arithmetic, Bandwidth, Peaks, keep, operations, peaks_from_json, peaks_of, stored, stored_json
from harness.peaks_study import SMALLEST_SET_BYTES, last_cache_bytes, measure_peaks, working_sets

PEAKS = Peaks(
    host="host-a",
    threads=1,
    measured_at="2026-01-01T00:00:00Z",
    harness="0.1.0",
    arithmetic=(Arithmetic("float32", 100e9, "torch.matmul", 1024), Arithmetic("int8", 400e9, "torch._int_mm", 512)),
    bandwidths=(
        Bandwidth(1_000_000, 80e9, "dot"),
        Bandwidth(16_000_000, 20e9, "dot"),
        Bandwidth(1_000_000_000, 10e9, "copy"),
    ),
    missing={"bfloat16": "torch is not installed"},
    versions={"numpy": "2"},
    busy=False,
)


def test_what_was_kept_is_found_again_by_thread_count(tmp_path: Path) -> None:
    two = replace(PEAKS, threads=2)
    keep(two, tmp_path)
    path = keep(PEAKS, tmp_path)
    assert stored("host-a", tmp_path) == [PEAKS, two]
    assert stored("host-b", tmp_path) == []
    assert sorted(p.name for p in path.parent.iterdir()) == ["threads-1.json", "threads-2.json"]


def test_a_header_gives_the_peaks_of_its_own_host(tmp_path: Path) -> None:
    keep(PEAKS, tmp_path)
    entries = [*stored_json("host-a", tmp_path), asdict(replace(PEAKS, host="host-b", threads=2))]
    header = json.loads(json.dumps({"host": {"id": "host-a"}, "peaks": entries}))
    assert peaks_of(header) == {1: PEAKS}
    assert peaks_of({"host": {"id": "host-a"}}) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"threads": 1}'),
        json.dumps({**asdict(PEAKS), "bandwidths": []}),
        json.dumps({**asdict(PEAKS), "bandwidths": [{"working_set_bytes": 1, "bytes_per_s": 0, "kernel": "copy"}]}),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = keep(PEAKS, tmp_path)
    path.write_text(text)
    with pytest.raises(StoreError, match=r"threads-1.json is damaged: .*harness doctor --peaks"):
        stored("host-a", tmp_path)


def test_a_key_of_a_newer_version_is_passed_over() -> None:
    assert peaks_from_json({**asdict(PEAKS), "new": 1}) == PEAKS


@pytest.mark.parametrize(
    ("moved", "rate"),
    [(1, 80e9), (1_000_000, 80e9), (15_999_999, 80e9), (16_000_000, 20e9), (999_999_999, 20e9), (5e9, 10e9)],
)
def test_the_bandwidth_is_that_of_the_largest_data_measured_that_is_not_larger(moved: float, rate: float) -> None:
    assert PEAKS.bandwidth_for(moved).bytes_per_s == rate
    assert PEAKS.memory.bytes_per_s == 10e9


def test_larger_data_that_were_faster_still_count() -> None:
    odd = replace(PEAKS, bandwidths=(Bandwidth(1000, 5e9, "dot"), Bandwidth(2000, 9e9, "dot")))
    assert odd.bandwidth_for(1500).bytes_per_s == 9e9


def test_integers_have_operations_of_their_own() -> None:
    assert operations("bfloat16") == "FLOP/s"
    assert operations("int8") == "op/s"
    assert PEAKS.of("int8") == Arithmetic("int8", 400e9, "torch._int_mm", 512)
    assert PEAKS.of("float16") is None


def test_working_sets_reach_from_the_smallest_cache_to_memory() -> None:
    sizes = working_sets(32 << 20, available=10**12)
    assert sizes[0] == SMALLEST_SET_BYTES
    assert sizes[-1] == 128 << 20
    assert all(2 * a <= b for a, b in pairwise(sizes))
    assert working_sets(32 << 20, available=8 << 20)[-1] == 2 << 20  # memory is short


def test_the_last_cache_is_read_from_the_kernel(tmp_path: Path) -> None:
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cache"
    for index, size in enumerate(("48K", "2048K", "266240K")):
        (folder / f"index{index}").mkdir(parents=True)
        (folder / f"index{index}" / "size").write_text(f"{size}\n")
    assert last_cache_bytes(tmp_path) == 266240 << 10
    assert last_cache_bytes(tmp_path / "nowhere") == 64 << 20


def test_the_best_of_the_repeats_counts() -> None:
    # warm-up call, then pairs of readings: one for the number of calls, then one for each repeat
    ticks = iter([0.0, 1.0, 10.0, 13.0, 20.0, 22.0, 30.0, 35.0])
    assert best_seconds(lambda: None, Effort((), repeats=3, least_s=0.5), lambda: next(ticks)) == 2.0


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(UserError, match="--threads 100000: this host has"):
        measure_peaks(100_000)


def test_peaks_are_measured_in_a_process_of_their_own_and_kept(tmp_path: Path, cache_dir: Path) -> None:
    effort = Effort((1 << 16, 1 << 18), sizes=(16,), repeats=1, least_s=1e-5)
    peaks = measure_peaks(1, effort=effort)
    assert stored(peaks.host) == [peaks]
    assert [b.working_set_bytes for b in peaks.bandwidths] == [1 << 16, 1 << 18]
    assert {a.format for a in peaks.arithmetic} | set(peaks.missing) == {"float32", "bfloat16", "float16", "int8"}
    assert peaks.of("float32") is not None
