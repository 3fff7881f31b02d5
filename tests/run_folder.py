"""Writes run folders by hand: the same files as a real run leaves, with samples whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.schema import (
    Artifact,
    Energy,
    Execution,
    Fidelity,
    FidelityCheck,
    Memory,
    OperatorUse,
    PassSpec,
    Quality,
    Record,
    Status,
    Step,
    Timing,
    Trial,
    Unmeasured,
    Utilization,
    Work,
)
from harness.store import RunWriter

CALLS = 5
REPLICATES = 3
ROUNDS = 8

BASELINE = Trial("torch", "e", "net", "torch", role="baseline", batch_size=4)
PLAIN = Trial("ort", "e", "net", "ort", role="plain", batch_size=4)
INT8 = Trial("ort-int8", "e", "net", "ort", passes=(PassSpec("int8"),), batch_size=4)


def executed(*operators: tuple[str, str, str, float], **more: Any) -> Execution:
    """Return what a runtime's profile told: name, format, kind and share of each operator; 10 % outside them."""
    uses = tuple(OperatorUse(name, number, kind, share, 1) for name, number, kind, share in operators)  # type: ignore[arg-type]
    return replace(Execution("a profile", "time", 20, uses, 0.1), **more)


@dataclass
class Row:
    """A measured trial: milliseconds of a call, by replicate where a mapping says so, and its scores."""

    trial: Trial
    ms: float
    scores: Sequence[float] | None = None
    group: int = 0
    dirty_ms: float | None = None  # of a call in a dirty round; as ``ms`` when None
    utilization: Utilization | Unmeasured = Unmeasured("no counter")  # noqa: RUF009 (it is frozen)
    energy: Energy | Unmeasured = Unmeasured("no counter")  # noqa: RUF009
    memory: Memory = Memory(100, 300, 250)  # noqa: RUF009
    higher_is_better: bool = True
    work: Work | None = None
    execution: Execution | Unmeasured = Unmeasured("nobody watched")  # noqa: RUF009
    steps: tuple[Step, ...] = ()  # of passes, between making the model and lowering it
    asked: str = "float32"
    predicted: Sequence[int] | None = None
    targets: Sequence[int] | None = None
    metric: str = "accuracy"


@dataclass
class Folder:
    """A run in the making.

    Attributes:
        dirty: (replicate, round) of the disturbed rounds, in every group.
        failed: trials that ended early, with their status and reason.
    """

    rows: Sequence[Row]
    failed: Sequence[tuple[Trial, Status, str]] = ()
    dirty: set[tuple[int, int]] = field(default_factory=set)
    host: str = "host-a"
    margin: float = 0.02
    quality_margin: float = 0.01
    replicates: int = REPLICATES
    rounds: int = ROUNDS
    baseline_of_group: Mapping[int, float] = field(default_factory=dict)  # ms of the baseline in later groups
    peaks: Sequence[object] = ()
    flags: Sequence[str] = ()

    def write(self, directory: Path) -> Path:
        """Write everything and return the run's folder."""
        writer = RunWriter(directory, self._header())
        for group in {row.group for row in self.rows}:
            for replicate in range(self.replicates):
                self._write_samples(writer, group, replicate)
        for trial, status, reason in self.failed:
            record = Record(directory.name, trial, status, self.host, "", reason=reason, stage="measure")
            writer.append(replace(record, timing=Unmeasured(f"it {status}"), energy=Unmeasured("no counter")))
        for row in self.rows:
            writer.append(self._record(writer, row))
        return directory

    def _header(self) -> dict[str, object]:
        trials = [*(row.trial.name for row in self.rows), *(trial.name for trial, _, _ in self.failed)]
        experiment = {
            "name": "e",
            "model": "net",
            "baseline": "torch",
            "trials": trials,
            "measure": {"margin": self.margin},
            "quality_margin": self.quality_margin,
        }
        host = {"id": self.host, "cpu": "Fake CPU", "cores": 2, "memory_gib": 8, "flags": list(self.flags)}
        return {"suite": "s", "host": host, "peaks": list(self.peaks), "experiments": [experiment]}

    def _write_samples(self, writer: RunWriter, group: int, replicate: int) -> None:
        members = [row for row in self.rows if row.group == group]
        if group:  # the baseline runs in every group, at that group's own speed
            [first] = [row for row in self.rows if row.trial.role == "baseline"]
            members = [replace(first, ms=self.baseline_of_group.get(group, first.ms)), *members]
        blocks = [
            (row, round_, position, (replicate, round_) in self.dirty)
            for round_ in range(self.rounds)
            for position, row in enumerate(members)
        ]
        rng = np.random.default_rng([group, replicate])
        latencies = []
        for row, _, _, dirty in blocks:
            ms = row.dirty_ms if dirty and row.dirty_ms is not None else row.ms
            latencies.append(ms * 1e6 * np.exp(rng.normal(0.0, 0.001, CALLS)))

        def column(values: Sequence[object], dtype: object) -> np.ndarray:
            return np.repeat(np.array(values, dtype=dtype), CALLS)

        writer.table(
            f"samples/e/group-{group}-replicate-{replicate}.parquet",
            {
                "trial": column([row.trial.name for row, *_ in blocks], object),
                "replicate": column([replicate] * len(blocks), np.int32),
                "round": column([round_ for _, round_, _, _ in blocks], np.int32),
                "position": column([position for _, _, position, _ in blocks], np.int32),
                "dirty": column([dirty for *_, dirty in blocks], np.bool_),
                "latency_ns": np.concatenate(latencies).astype(np.int64),
            },
        )

    def _record(self, writer: RunWriter, row: Row) -> Record:
        trial = row.trial
        scores = np.asarray([1.0, 0.0, 1.0, 1.0] * 100 if row.scores is None else row.scores)
        predicted = scores if row.predicted is None else np.asarray(row.predicted)
        targets = scores if row.targets is None else np.asarray(row.targets)
        predictions = writer.table(
            f"predictions/e/{trial.name}.parquet",
            {"example": np.arange(len(scores)), "prediction": predicted, "target": targets, "score": scores},
        )
        unmeasured = Unmeasured("no counter")
        return Record(
            run=writer.directory.name,
            trial=trial,
            status=Status.OK,
            host=self.host,
            finished_at="2026-01-01T00:00:00Z",
            artifact=Artifact(
                f"key-{trial.name}",
                "fake",
                {},
                1000,
                10,
                (Step("model", 9.0), *row.steps, Step("lower", 1.5)),
                Fidelity.RUNTIME,
                {},
                work=row.work or Unmeasured("nobody counted"),
            ),
            fidelity=FidelityCheck(Fidelity.RUNTIME, 1e-6, 1e-3, 4),
            quality=Quality(row.metric, float(scores.mean()), len(scores), row.higher_is_better, predictions),
            memory=row.memory,
            timing=Timing(
                samples="samples/e",
                replicates=self.replicates,
                rounds=self.replicates * self.rounds,
                dirty_rounds=len(self.dirty),
                calls_per_block=CALLS,
                group=row.group,
                stopped_by="precision",
                load_s=(0.3, 0.1, 0.2),
                first_call_s=(0.01, 0.03, 0.02),
            ),
            startup_s=0.5,
            actual={"threads": 1, "requested_precision": row.asked},
            execution=row.execution,
            energy=row.energy,
            utilization=row.utilization,
            device_memory=unmeasured,
        )
