"""How finely does this host measure? An A/A of one artifact in six processes at a time, through the real Runner.

A baseline and five twins of it are timed in interleaved rounds, in three replicates: 18 processes whose true
ratio is 1. What differs nevertheless is the host's noise, taken apart by ``harness.stats.noise``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness import __version__
from harness.cache import default_root
from harness.catalog import backend_unavailable, model_unavailable
from harness.environment import host_fingerprint
from harness.errors import HarnessError, UserError
from harness.events import Event
from harness.noise import Noise, keep, noise_folder
from harness.plan import Experiment
from harness.runner import Runner, RunOptions
from harness.samples import SampleReader
from harness.schema import Record, Timing, Trial
from harness.stats.estimate import Floats, NotEnough, prefer_clean
from harness.stats.noise import components
from harness.store import Run, read_run
from harness.suite import Measure
from harness.zoo import load_model

TWINS = 5
POLICY = Measure(replicates=3, max_replicates=3, rounds=20, budget_s=600, utilization_s=0)
EXPERIMENT = "noise"


@dataclass(frozen=True)
class Subject:
    """What is timed: as close to a real inference as this installation allows."""

    model: str
    backend: str
    batch_size: int
    options: dict[str, Any] = field(default_factory=dict)


REAL = tuple(Subject("digits-cnn", backend, 32) for backend in ("onnxruntime", "torch"))
ARITHMETIC = Subject("_fake", "fake", 8, {"work": 20_000})  # about a millisecond of Python


def best_subject(
    unavailable: Callable[[Subject], str | None] = lambda s: (
        model_unavailable(load_model(s.model)) or backend_unavailable(s.backend)
    ),
) -> Subject:
    """Return the first real model that can run here, else plain arithmetic."""
    return next((s for s in REAL if unavailable(s) is None), ARITHMETIC)


def measure_noise(
    threads: int,
    on_event: Callable[[Event], None] = lambda _: None,
    *,
    root: Path | None = None,
    subject: Subject | None = None,
    policy: Measure = POLICY,
) -> Noise:
    """Measure this host's noise with ``threads`` threads, keep it in the cache at ``root`` and return it.

    Takes one to two minutes. The run itself stays beside it. Raises UserError for more threads than cores,
    HostLockedError when another measurement runs here, HarnessError when the twins could not be timed.
    """
    cores = len(os.sched_getaffinity(0))
    if not 1 <= threads <= cores:
        raise UserError(f"--threads {threads}: this host has {cores} cores, choose 1 to {cores}")
    root = default_root() if root is None else root
    results = noise_folder(host_fingerprint()["id"], root) / "runs"
    chosen = subject or best_subject()
    directory = Runner(RunOptions(results, root), on_event).run(
        f"noise-{threads}", 0, [experiment(chosen, threads, policy)]
    )
    noise = noise_of(read_run(directory))
    keep(noise, root)
    return noise


def experiment(subject: Subject, threads: int, policy: Measure = POLICY) -> Experiment:
    """Return the A/A: a baseline and its twins, one artifact under six names."""
    names = ["baseline", *(f"twin-{i + 1}" for i in range(TWINS))]
    trials = tuple(
        Trial(
            name=name,
            experiment=EXPERIMENT,
            model=subject.model,
            backend=subject.backend,
            options=dict(subject.options),
            role="baseline" if name == "baseline" else "variant",
            batch_size=subject.batch_size,
            threads=threads,
        )
        for name in names
    )
    return Experiment(EXPERIMENT, subject.model, trials, policy, 0.01, seed=0)


def noise_of(run: Run) -> Noise:
    """Return the noise that an A/A run shows. Raises HarnessError when fewer than two twins were timed."""
    timed = [(r, r.timing) for r in run.records if isinstance(r.timing, Timing)]
    if not timed:
        raise HarnessError(f"the A/A in {run.directory} gave no times: {_first_reason(run.records)}")
    first, timing = timed[0]
    tables, clean = _tables(SampleReader(run), [(r, t) for r, t in timed if t.group == timing.group])
    found = components(tables)
    if isinstance(found, NotEnough):
        raise HarnessError(f"the A/A in {run.directory} tells nothing: {found.reason}; repeat harness doctor --noise")
    [settings] = [e["measure"] for e in run.header["experiments"]]
    return Noise(
        host=run.header["host"]["id"],
        threads=first.trial.threads,
        measured_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        harness=__version__,
        model=first.trial.model,
        backend=first.trial.backend,
        batch_size=first.trial.batch_size,
        block_s=settings["block_s"],
        processes=found.processes,
        replicates=found.replicates,
        rounds=found.rounds,
        dirty_rounds=timing.dirty_rounds,
        clean=clean,
        within=found.within,
        between=found.between,
        between_low=found.between_low,
        between_high=found.between_high,
    )


def _tables(samples: SampleReader, timed: list[tuple[Record, Timing]]) -> tuple[list[Floats], bool]:
    """Return one table of log medians a replicate, shape (rounds, processes), and whether of clean rounds only."""

    def tables(*, clean: bool) -> list[Floats]:
        columns = [samples.medians(t, t.group, r.trial.name, clean=clean) for r, t in timed]
        return [_table(list(of_replicate)) for of_replicate in zip(*columns, strict=True)]

    chosen, clean = prefer_clean(tables(clean=True), tables(clean=False))
    return list(chosen), clean


def _table(medians: list[dict[int, float]]) -> Floats:
    """Put one replicate's medians, by process and round, into rows of the rounds that all processes have."""
    common = sorted(set.intersection(*(set(m) for m in medians)))
    return np.log(
        np.array([[m[number] for m in medians] for number in common], dtype=np.float64).reshape(-1, len(medians))
    )


def _first_reason(records: tuple[Record, ...]) -> str:
    return next((r.reason for r in records if r.reason), "no record was written")
