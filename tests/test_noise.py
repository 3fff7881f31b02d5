from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.noise import Noise, keep, noise_folder, noise_from_json, stored, stored_json

NOISE = Noise(
    host="host-a",
    threads=1,
    measured_at="2026-01-01T00:00:00Z",
    harness="0.1.0",
    model="net",
    backend="onnxruntime",
    batch_size=32,
    block_s=0.03,
    processes=18,
    replicates=3,
    rounds=60,
    dirty_rounds=2,
    clean=True,
    within=0.03,
    between=0.01,
    between_low=0.005,
    between_high=0.02,
)


def test_what_was_kept_is_found_again_by_thread_count(tmp_path: Path) -> None:
    two = replace(NOISE, threads=2, within=0.1)
    keep(two, tmp_path)
    keep(replace(NOISE, threads=10), tmp_path)
    keep(NOISE, tmp_path)
    assert [n.threads for n in stored("host-a", tmp_path)] == [1, 2, 10]
    assert stored("host-a", tmp_path)[1] == two
    assert stored("host-b", tmp_path) == []


def test_a_later_measurement_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    keep(NOISE, tmp_path)
    path = keep(replace(NOISE, within=0.5), tmp_path)
    assert [n.within for n in stored("host-a", tmp_path)] == [0.5]
    assert list(path.parent.iterdir()) == [path]


def test_the_place_is_the_users_cache_unless_told(cache_dir: Path) -> None:
    assert keep(NOISE).is_relative_to(cache_dir)
    assert noise_folder("host-a") == cache_dir / "noise" / "host-a"
    assert [noise_from_json(entry) for entry in json.loads(json.dumps(stored_json("host-a")))] == [NOISE]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"threads": 1}', json.dumps({**asdict(NOISE), "within": -1})])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = keep(NOISE, tmp_path)
    path.write_text(text)
    with pytest.raises(StoreError, match=r"threads-1.json is damaged: .*harness doctor --noise"):
        stored("host-a", tmp_path)


def test_keys_of_a_newer_version_are_passed_over() -> None:
    assert noise_from_json({**asdict(NOISE), "color": "red"}) == NOISE
