"""An isolated confirmation: the baseline and the winner timed alone, one process at a time.

Interleaved times are right for ratios. As absolute numbers they carry the neighbors that had just run: caches are
cold at the start of every turn. Here each trial has the host to itself, in fresh processes taken in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from harness.blocks import calls_for
from harness.errors import UserError
from harness.events import StageStarted
from harness.launcher import WorkerFailure
from harness.reserve import cores_for, out_of_the_way
from harness.store import confirmation_file
from harness.suite import Measure
from harness.trial_run import Context, Examined

PROCESSES = 5  # of each trial, taken in turn, so that a slow minute hits both
TIMED_S = 1.0  # in each process


def confirm(experiment: str, policy: Measure, trials: Sequence[Examined], context: Context) -> Path:
    """Time trials alone and return the file of samples: one row a call, its trial and process.

    Raises UserError when a worker fails, which it did not while it was measured with the others.
    """
    rows: list[tuple[str, int, Sequence[int]]] = []
    threads = max(item.ready.trial.threads for item in trials)
    with out_of_the_way(threads):
        for process in range(PROCESSES):
            # Forward and backward in turn, so that a drift does not favor one.
            for item in trials if process % 2 == 0 else reversed(trials):
                name = item.ready.trial.name
                context.on_event(StageStarted(experiment, name, "confirm", f"process {process + 1} of {PROCESSES}"))
                try:
                    rows.append((name, process, _alone(item, policy, context)))
                except WorkerFailure as failure:
                    raise UserError(f"{experiment}: {name} cannot be confirmed: {failure.reason}") from failure
    lengths = [len(ns) for _, _, ns in rows]
    name = confirmation_file(experiment)
    context.writer.table(
        name,
        {
            "trial": np.repeat(np.array([trial for trial, _, _ in rows], dtype=object), lengths),
            "process": np.repeat(np.array([process for _, process, _ in rows], dtype=np.int32), lengths),
            "latency_ns": np.array([ns for _, _, block in rows for ns in block], dtype=np.int64),
        },
    )
    return context.writer.directory / name


def _alone(item: Examined, policy: Measure, context: Context) -> Sequence[int]:
    """Return the nanoseconds of all calls of one fresh process that has the host to itself."""
    trial, timeout = item.ready.trial, policy.stage_timeout_s
    worker = context.spawn(trial, "measure")
    try:
        worker.call(
            "start",
            timeout,
            trial=asdict(trial),
            directory=str(item.ready.directory),
            test_data=str(item.ready.test_data),
        )
        worker.call("load", timeout, cores=sorted(cores_for(trial.threads)))
        worker.call("first", timeout)
        worker.call("verify", timeout)
        call_s = float(worker.call("ready", timeout)["call_s"])
        calls = calls_for(call_s, policy.block_s)
        blocks = max(1, round(TIMED_S / max(calls * call_s, 1e-9)))
        found: list[int] = []
        for _ in range(blocks):
            found += worker.call("block", timeout, calls=calls)["ns"]
        return found
    finally:
        worker.close()
