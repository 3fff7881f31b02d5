from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.store import Run, RunWriter, read_run
from harness.useful import UsefulShare, useful_share
from tests.run_folder import BASELINE, INT8, Folder, Row


def made(directory: Path, *parts: float, seconds: float = 2.0) -> Run:
    """Return a run of two replicates of ``seconds`` each, with 0.5 s of timed calls in each."""
    Folder([Row(BASELINE, 1.0), Row(INT8, 1.0)], replicates=1).write(directory)
    writer = RunWriter.reopen(read_run(directory), "later") if len(parts) > 1 else None
    writer = writer or RunWriter.__new__(RunWriter)
    writer.directory = directory
    for number in range(2):
        latency = np.full(100, 5_000_000, dtype=np.int64)
        writer.table(
            f"samples/e/group-0-replicate-{number}.parquet", {"latency_ns": latency}, note={"seconds": seconds}
        )
    for part in parts:
        writer.part_done(part)
    return read_run(directory)


def test_the_share_is_timed_seconds_over_wall_seconds(tmp_path: Path) -> None:
    found = useful_share(made(tmp_path / "run", 8.0))
    assert found == UsefulShare(1.0, 4.0, 8.0)
    assert found.of_measuring == pytest.approx(0.25)
    assert found.of_run == pytest.approx(0.125)
    assert found.sentence() == "25 % of the measuring phase (4 s), 12 % of the whole run (8 s)"


def test_a_resumed_run_took_as_long_as_its_parts(tmp_path: Path) -> None:
    found = useful_share(made(tmp_path / "run", 8.0, 2.0))
    assert found is not None
    assert found.wall_s == 10.0


def test_a_run_with_a_part_that_was_cut_short_has_no_wall_time(tmp_path: Path) -> None:
    run = made(tmp_path / "run", 8.0)
    found = useful_share(replace(run, header={**run.header, "resumed_at": ["later"]}))
    assert found == UsefulShare(1.0, 4.0, None)
    assert found.of_run is None
    assert "the wall time of the whole run is not recorded" in found.sentence()


def test_samples_without_a_note_and_a_run_without_samples_tell_nothing(tmp_path: Path) -> None:
    assert useful_share(read_run(Folder([Row(BASELINE, 1.0)]).write(tmp_path / "old"))) is None
    run = made(tmp_path / "run", 8.0)
    assert useful_share(replace(run, records=())) is None
