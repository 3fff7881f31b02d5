"""The harness's own hot paths, by pytest-benchmark: ``make bench``. Nothing here asserts a time.

How much the timed loop adds to a bare loop, and what planning, storing and reading cost at sizes a user may reach.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Arrays, Session
from harness.catalog import catalog
from harness.frame import records_df
from harness.plan import plan
from harness.schema import (
    Artifact,
    Fidelity,
    FidelityCheck,
    Memory,
    Record,
    Status,
    Step,
    Timing,
    Trial,
    Unmeasured,
    Work,
)
from harness.store import Run, RunWriter, read_run
from harness.suite import parse_suite
from harness.verdicts import run_df
from harness.workloads.base import ClosedLoop

pytest_benchmark = pytest.importorskip("pytest_benchmark", reason="pip install -e '.[bench]'")

CALLS = 1000
RECORDS = 100_000
PER_EXPERIMENT = 1000
REPLICATES, ROUNDS = 2, 2


class Nothing(Session):
    """A session that does nothing, so that all that is timed is the loop itself."""

    def __call__(self, inputs: Arrays) -> Arrays:
        return inputs

    def executed(self) -> dict[str, Any]:
        return {}


# -- the timed loop ------------------------------------------------------------------------------------------


def test_block_loop(benchmark: Any) -> None:
    loop = ClosedLoop(Nothing(), [(np.zeros(1, np.float32),)])
    assert len(benchmark(loop.block, CALLS, 0.0)) == CALLS


def test_bare_loop(benchmark: Any) -> None:
    """What the block loop is compared with: the same calls between two readings of the clock."""
    session, batch, clock = Nothing(), (np.zeros(1, np.float32),), time.perf_counter_ns

    def bare() -> list[int]:
        samples = [0] * CALLS
        for i in range(CALLS):
            began = clock()
            session(batch)
            samples[i] = clock() - began
        return samples

    assert len(benchmark(bare)) == CALLS


# -- planning ------------------------------------------------------------------------------------------------


def suite_text(variants: int) -> str:
    """Return a suite of 8 × 2 experiments with ``variants`` variants each."""
    passes = [f"prune.channels: {{amount: 0.{n:02}}}" for n in range(1, variants + 1)]
    listed = "".join(f"\n      - {{name: v{i}, backend: torch, passes: [{p}]}}" for i, p in enumerate(passes))
    return f"""
suite: large
experiments:
  - name: e
    model: digits-cnn
    matrix: {{batch_size: [1, 2, 4, 8, 16, 32, 64, 128], threads: [1, 2]}}
    baseline: {{backend: torch}}
    variants:{listed}
"""


def test_plan_of_a_large_matrix(benchmark: Any) -> None:
    text, known = suite_text(90), catalog()

    def planned() -> int:
        return sum(len(e.trials) for e in plan(parse_suite(text, "large.yaml"), known))

    assert benchmark.pedantic(planned, rounds=3) > 1000


# -- the store -----------------------------------------------------------------------------------------------


def record(number: int, directory: str = "run") -> Record:
    """Return a record as large as a real one."""
    experiment, place = divmod(number, PER_EXPERIMENT)
    trial = Trial(
        name=f"t{place}",
        experiment=f"e{experiment}",
        model="net",
        backend="torch" if place % 2 == 0 else "onnxruntime",
        role="baseline" if place == 0 else "plain" if place == 1 else "variant",
        batch_size=8,
    )
    return Record(
        run=directory,
        trial=trial,
        status=Status.OK,
        host="host-a",
        finished_at="2026-01-01T00:00:00Z",
        artifact=Artifact(
            f"key-{number}",
            "onnx",
            {"model.onnx": "0" * 64},
            1_000_000,
            250_000,
            (Step("model", 1.0), Step("lower", 1.0)),
            Fidelity.RUNTIME,
            {"torch": "2.13.0"},
            work=Work(1e9, 600_000, 4_000, 1_000_000, "float32", "by hand", ("relu",)),
        ),
        fidelity=FidelityCheck(Fidelity.RUNTIME, 1e-6, 1e-3, 32),
        memory=Memory(50_000_000, 60_000_000, 70_000_000),
        timing=Timing(f"samples/e{experiment}", REPLICATES, ROUNDS, 0, 1, 0, "budget", (0.1,), (0.1,)),
        startup_s=0.5,
        actual={"threads": 1, "precision": "float32"},
        quality=Unmeasured("no labeled data"),
        energy_j=Unmeasured("no counter"),
        utilization=Unmeasured("not measured"),
        device_memory_bytes=Unmeasured("cpu"),
    )


def header(experiments: int) -> dict[str, Any]:
    """Return a run's header with ``experiments`` experiments."""
    host = {"id": "host-a", "cpu": "Fake CPU", "cores": 2, "memory_gib": 8, "flags": []}
    entries = [
        {
            "name": f"e{n}",
            "model": "net",
            "baseline": "t0",
            "trials": [f"t{i}" for i in range(PER_EXPERIMENT)],
            "measure": {"margin": 0.02},
            "quality_margin": 0.01,
        }
        for n in range(experiments)
    ]
    return {"suite": "large", "host": host, "experiments": entries}


def test_append_of_a_record(benchmark: Any, tmp_path: Path) -> None:
    """Append one record, with the fsync that makes it last."""
    writer, made = RunWriter(tmp_path / "run", header(1)), record(0)
    benchmark(writer.append, made)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 100 000 records with samples; written at once, since 100 000 times fsync is another benchmark."""
    from harness.codec import encode_record

    directory = tmp_path_factory.mktemp("large") / "run"
    experiments = RECORDS // PER_EXPERIMENT
    writer = RunWriter(directory, header(experiments))
    with (directory / "records.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(encode_record(record(number)) + "\n" for number in range(RECORDS))
    names = np.array([f"t{i}" for i in range(PER_EXPERIMENT)], dtype=object)
    rng = np.random.default_rng(0)
    for experiment in range(experiments):
        for replicate in range(REPLICATES):
            count = ROUNDS * PER_EXPERIMENT
            writer.table(
                f"samples/e{experiment}/group-0-replicate-{replicate}.parquet",
                {
                    "trial": np.tile(names, ROUNDS),
                    "replicate": np.full(count, replicate, np.int32),
                    "round": np.repeat(np.arange(ROUNDS, dtype=np.int32), PER_EXPERIMENT),
                    "position": np.tile(np.arange(PER_EXPERIMENT, dtype=np.int32), ROUNDS),
                    "dirty": np.zeros(count, np.bool_),
                    "latency_ns": rng.integers(900_000, 1_100_000, count),
                },
            )
    return directory


@pytest.fixture(scope="module")
def read(large: Path) -> Run:
    return read_run(large)


def test_read_of_100_000_records(benchmark: Any, large: Path) -> None:
    assert len(benchmark.pedantic(read_run, (large,), rounds=1).records) == RECORDS


def test_frame_of_100_000_records(benchmark: Any, read: Run) -> None:
    assert len(benchmark.pedantic(records_df, (read,), rounds=1)) == RECORDS


def test_verdicts_of_100_000_records(benchmark: Any, read: Run) -> None:
    assert len(benchmark.pedantic(run_df, (read,), rounds=1)) == RECORDS


def test_verdicts_of_10_000_records(benchmark: Any, read: Run) -> None:
    """A tenth of the run: a tenth of the time, if the cost is linear."""
    part = replace(read, records=read.records[: RECORDS // 10])
    assert len(benchmark.pedantic(run_df, (part,), rounds=1)) == RECORDS // 10
