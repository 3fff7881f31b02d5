"""How a run's verdicts are held to the noise that had been measured on its host."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness.errors import StoreError
from harness.noise import Noise
from harness.schema import Status
from harness.stats.noise import floor
from tests.run_folder import BASELINE, INT8, PLAIN, ROUNDS, Folder, Row
from tests.test_noise import NOISE

LOUD = replace(NOISE, within=0.0, between=0.1)


def load(folder: Folder, directory: Path, *noise: Noise | Any) -> pd.DataFrame:
    """Write the run as if this noise had been measured before it, and read it."""
    run = folder.write(directory / "run")
    header = json.loads((run / "run.json").read_text())
    header["noise"] = [asdict(n) if isinstance(n, Noise) else n for n in noise]
    (run / "run.json").write_text(json.dumps(header))
    return harness.load(run).set_index("trial", drop=False)


def test_the_floor_is_that_of_the_runs_own_replicates_and_rounds(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)]), tmp_path, NOISE)
    expected = floor(NOISE.within, NOISE.between, replicates=3, rounds=ROUNDS)
    assert list(frame["noise_floor"]) == pytest.approx([expected, expected])


def test_more_replicates_lower_the_floor(tmp_path: Path) -> None:
    few = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)]), tmp_path / "a", NOISE)
    many = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)], replicates=6), tmp_path / "b", NOISE)
    assert many["noise_floor"].max() < few["noise_floor"].min()


def test_only_the_rounds_that_the_estimate_used_count(tmp_path: Path) -> None:
    dirty = {(replicate, number) for replicate in range(3) for number in range(ROUNDS - 3)}
    frame = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)], dirty=dirty), tmp_path, NOISE)
    assert frame.loc["ort", "noise_floor"] == pytest.approx(floor(NOISE.within, NOISE.between, 3, rounds=3))


@pytest.mark.parametrize(("ms", "without"), [(1.9, "faster"), (2.1, "slower"), (2.0, "same")])
def test_nothing_is_claimed_below_the_floor(tmp_path: Path, ms: float, without: str) -> None:
    folder = Folder([Row(BASELINE, 2.0), Row(PLAIN, ms)])
    assert load(folder, tmp_path / "a").loc["ort", "speedup_verdict"] == without
    row = load(folder, tmp_path / "b", LOUD).loc["ort"]
    assert row["speedup_verdict"] == "inconclusive"
    assert f"noise floor of {100 * row['noise_floor']:.1f} %" in row["speedup_reason"]


def test_a_difference_beyond_the_floor_is_claimed(tmp_path: Path) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0)]), tmp_path, LOUD).loc["ort"]
    assert row["speedup_verdict"] == "faster"


def test_a_technique_is_held_to_the_floor_too(tmp_path: Path) -> None:
    frame = load(Folder([Row(BASELINE, 4.0), Row(PLAIN, 2.0), Row(INT8, 1.9)]), tmp_path, LOUD)
    assert frame.loc["ort-int8", "speedup_verdict"] == "faster"
    assert frame.loc["ort-int8", "technique_speedup_verdict"] == "inconclusive"
    assert "noise floor" in frame.loc["ort-int8", "technique_speedup_reason"]


@pytest.mark.parametrize("noise", [(), (replace(NOISE, threads=2),), (replace(NOISE, host="another"),)])
def test_noise_of_other_threads_or_hosts_says_nothing(tmp_path: Path, noise: tuple[Noise, ...]) -> None:
    row = load(Folder([Row(BASELINE, 2.0), Row(PLAIN, 2.0)]), tmp_path, *noise).loc["ort"]
    assert pd.isna(row["noise_floor"])
    reason = "not measured for 1 thread on this host: harness doctor --noise --threads 1"
    assert row["missing"]["noise_floor"] == reason
    assert row["speedup_verdict"] == "same"  # judged by the interval alone


def test_where_sides_have_different_threads_the_noisier_one_counts(tmp_path: Path) -> None:
    two = replace(LOUD, threads=2)
    folder = Folder([Row(BASELINE, 2.0), Row(replace(PLAIN, threads=2), 1.0)])
    frame = load(folder, tmp_path / "a", NOISE, two)
    assert frame.loc["ort", "noise_floor"] == pytest.approx(floor(two.within, two.between, 3, ROUNDS))
    assert frame.loc["torch", "noise_floor"] == pytest.approx(floor(NOISE.within, NOISE.between, 3, ROUNDS))
    half = load(folder, tmp_path / "b", NOISE).loc["ort"]
    assert "2 threads" in half["missing"]["noise_floor"]


def test_a_trial_that_was_not_timed_has_no_floor_and_the_reason_why(tmp_path: Path) -> None:
    failed = [(INT8, Status.CRASHED, "killed by SIGSEGV")]
    row = load(Folder([Row(BASELINE, 2.0)], failed), tmp_path, NOISE).loc["ort-int8"]
    assert pd.isna(row["noise_floor"])
    assert row["missing"]["noise_floor"] == "it crashed"


def test_noise_on_the_cpu_says_nothing_of_another_device(tmp_path: Path) -> None:
    row = load(Folder([Row(replace(BASELINE, device="cuda"), 2.0)]), tmp_path, NOISE).loc["torch"]
    assert row["missing"]["noise_floor"] == "noise is measured for the CPU only"


def test_a_run_of_an_older_version_is_read_without_noise(tmp_path: Path) -> None:
    row = harness.load(Folder([Row(BASELINE, 2.0)]).write(tmp_path / "run")).iloc[0]
    assert "harness doctor --noise" in row["missing"]["noise_floor"]


def test_damaged_noise_in_a_run_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"run.json is damaged: .*lacks"):
        load(Folder([Row(BASELINE, 2.0)]), tmp_path, {"threads": 1})
