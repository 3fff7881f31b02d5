"""The A/A that measures a host's noise: what is timed, and that known noise is read back from a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError, UserError
from harness.noise import noise_folder, stored
from harness.noise_study import ARITHMETIC, EXPERIMENT, REAL, TWINS, best_subject, experiment, measure_noise, noise_of
from harness.schema import Status
from harness.store import read_run
from harness.suite import Measure
from tests.run_folder import BASELINE, Folder, Row

ONNXRUNTIME, TORCH = REAL
SHORT = Measure(replicates=3, max_replicates=3, rounds=7, budget_s=60, block_s=0.005, stage_timeout_s=20)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not wait for a measurement that runs on this host."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def test_onnxruntime_is_timed_where_it_runs_then_torch_then_arithmetic() -> None:
    assert best_subject(lambda s: None) == ONNXRUNTIME
    assert best_subject(lambda s: "not installed" if s is ONNXRUNTIME else None) == TORCH
    assert best_subject(lambda s: "not installed") == ARITHMETIC


def test_six_processes_are_one_artifact_under_six_names() -> None:
    aa = experiment(ONNXRUNTIME, threads=2)
    assert len(aa.trials) == TWINS + 1 == 6
    assert len({t.name for t in aa.trials}) == 6
    assert {(t.model, t.backend, t.passes, t.threads) for t in aa.trials} == {("digits-cnn", "onnxruntime", (), 2)}
    assert aa.measure.replicates == aa.measure.max_replicates == 3


@pytest.mark.parametrize("threads", [0, 10_000])
def test_more_threads_than_cores_are_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UserError, match=f"this host has {len(os.sched_getaffinity(0))} cores"):
        measure_noise(threads, root=tmp_path)


def test_a_short_study_through_real_processes_is_kept_for_this_host(tmp_path: Path) -> None:
    noise = measure_noise(1, root=tmp_path, subject=ARITHMETIC, policy=SHORT)
    assert stored(noise.host, tmp_path) == [noise]
    assert (noise.threads, noise.backend, noise.model) == (1, "fake", "_fake")
    assert (noise.processes, noise.replicates) == (18, 3)
    assert noise.rounds >= 3 * 3
    assert noise.within > 0
    assert noise.between_low <= noise.between <= noise.between_high
    [run] = (noise_folder(noise.host, tmp_path) / "runs").iterdir()
    assert {r.trial.name for r in read_run(run).records} == {"baseline", *(f"twin-{i + 1}" for i in range(TWINS))}


def twins(directory: Path, **changes: object) -> Path:
    """Write an A/A of three twins whose blocks differ by 0.1 % and whose second is 10 % slower throughout."""
    rows = [Row(BASELINE, 2.0), *(Row(_twin(i), 2.2 if i == 1 else 2.0, **changes) for i in range(3))]  # type: ignore[arg-type]
    return with_block(Folder(rows, rounds=20).write(directory))


def _twin(number: int) -> object:
    from dataclasses import replace

    return replace(BASELINE, name=f"twin-{number}", role="variant")


def with_block(run: Path) -> Path:
    header = json.loads((run / "run.json").read_text())
    for entry in header["experiments"]:
        entry["measure"]["block_s"] = 0.03
    (run / "run.json").write_text(json.dumps(header))
    return run


def test_known_noise_is_read_back_from_a_run(tmp_path: Path) -> None:
    noise = noise_of(read_run(twins(tmp_path / "run")))
    offsets = np.log([2.0, 2.0, 2.2, 2.0])
    assert noise.between == pytest.approx(offsets.std(ddof=1), rel=0.01)
    # The median of five calls that spread by 0.1 %.
    assert 0.0003 < noise.within < 0.0008
    assert (noise.host, noise.threads, noise.clean, noise.block_s) == ("host-a", 1, True, 0.03)
    assert (noise.processes, noise.replicates, noise.rounds) == (12, 3, 60)


def test_disturbed_rounds_are_left_out_where_enough_are_clean(tmp_path: Path) -> None:
    dirty = {(replicate, number) for replicate in range(3) for number in range(4)}
    rows = [Row(BASELINE, 2.0), Row(_twin(0), 2.0, dirty_ms=9.0)]  # type: ignore[arg-type]
    quiet = noise_of(read_run(with_block(Folder(rows, rounds=20, dirty=dirty).write(tmp_path / "a"))))
    assert (quiet.clean, quiet.rounds) == (True, 48)
    assert quiet.within < 0.001
    many = {(0, number) for number in range(18)}
    loud = noise_of(read_run(with_block(Folder(rows, rounds=20, dirty=many).write(tmp_path / "b"))))
    assert (loud.clean, loud.rounds) == (False, 60)
    assert loud.between > 0.1


def test_twins_that_failed_are_left_out_and_all_of_them_are_an_error(tmp_path: Path) -> None:
    failed = [(_twin(1), Status.CRASHED, "killed by SIGSEGV")]
    rows = [Row(BASELINE, 2.0), Row(_twin(0), 2.0)]  # type: ignore[arg-type]
    some = noise_of(read_run(with_block(Folder(rows, failed).write(tmp_path / "a"))))  # type: ignore[arg-type]
    assert some.processes == 6
    with pytest.raises(HarnessError, match="needs a replicate with at least two processes"):
        noise_of(read_run(with_block(Folder(rows[:1], failed).write(tmp_path / "b"))))  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="gave no times: killed by SIGSEGV"):
        noise_of(read_run(with_block(Folder([], failed).write(tmp_path / "c"))))  # type: ignore[arg-type]


def test_a_later_run_carries_the_noise_in_its_header(cache_dir: Path, tmp_path: Path) -> None:
    from harness.runner import Runner, RunOptions

    noise = measure_noise(1, subject=ARITHMETIC, policy=SHORT)
    directory = Runner(RunOptions(tmp_path / "results", cache_dir)).run("s", 0, [])
    [entry] = read_run(directory).header["noise"]
    assert (entry["threads"], entry["measured_at"], entry["within"]) == (1, noise.measured_at, noise.within)
    assert EXPERIMENT not in json.dumps(entry)  # figures only, no path of this machine
