"""One experiment of a run: its trials are built and examined, then timed against each other; each ends in a record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import psutil

from harness.coordinator import Coordinator, Group, group_by_memory
from harness.events import TrialEnded
from harness.host import cores_for, out_of_the_way
from harness.launcher import WorkerFailure
from harness.plan import Experiment
from harness.replicate import Replicate, Tools
from harness.schema import Record, Status, Timing
from harness.trial_run import Context, Ended, Examined, TrialRun, failed, finished

MEMORY_SHARE = 0.8  # of what is available; the rest is left to the page cache and the system


class ExperimentRun:
    """One experiment of a run: holds what its steps share."""

    def __init__(self, experiment: Experiment, context: Context) -> None:
        self._experiment = experiment
        self._context = context
        self._records: dict[str, Record] = {}

    def run(self) -> None:
        """Build and examine each trial, then time the survivors; every trial ends in one record."""
        experiment = self._experiment
        examined: list[Examined] = []
        for trial in experiment.trials:
            try:
                examined.append(TrialRun(trial, experiment.measure, experiment.seed, self._context).examined())
            except Ended as ended:
                self._end(ended.record)
        if not examined:
            return
        if examined[0].ready.trial.role != "baseline":
            reason = f"the baseline '{experiment.baseline.name}' did not run, so there is nothing to compare with"
            for item in examined:
                self._end(replace(item.record, status=Status.SKIPPED, reason=reason, stage="measure"))
            return
        self._measure(examined)

    def _measure(self, examined: Sequence[Examined]) -> None:
        """Time all examined trials against each other and write their records."""
        most = max(item.ready.trial.threads for item in examined)
        watched = cores_for(most) or os.sched_getaffinity(0)
        tools = Tools(
            spawn=self._context.spawn,
            now=self._context.now,
            probe=self._context.make_probe(watched),
            watched=len(watched),
            cores_for=cores_for,
            on_event=self._context.on_event,
        )
        self._records = {item.ready.trial.name: item.record for item in examined}
        memory = int(psutil.virtual_memory().available * MEMORY_SHARE)
        groups = group_by_memory([item.ready for item in examined], memory)
        experiment = self._experiment
        coordinator = Coordinator(experiment.name, experiment.measure, experiment.seed, tools, keeper=self)
        with out_of_the_way(most):
            measured = coordinator.measure([Group(tuple(group)) for group in groups])
        for name in [n for n in self._records if n in measured.timings]:
            samples = f"samples/{experiment.name}"
            self._end(replace(self._records[name], timing=Timing(samples=samples, **asdict(measured.timings[name]))))

    # -- what the coordinator has kept -----------------------------------------------------------------------

    def replicate(self, group: int, replicate: Replicate) -> None:
        """Write a replicate's samples."""
        blocks = replicate.blocks
        lengths = [len(b.ns) for b in blocks]

        def column(values: Sequence[Any], dtype: Any) -> Any:
            return np.repeat(np.array(values, dtype=dtype), lengths)

        names = [b.trial for b in blocks]
        self._context.writer.table(
            f"samples/{self._experiment.name}/group-{group}-replicate-{replicate.number}.parquet",
            {
                "trial": column(names, object) if names else np.array([], dtype=object),
                "replicate": column([b.replicate for b in blocks], np.int32),
                "round": column([b.round for b in blocks], np.int32),
                "position": column([b.position for b in blocks], np.int32),
                "dirty": column([b.dirty for b in blocks], np.bool_),
                "latency_ns": np.array([ns for b in blocks for ns in b.ns], dtype=np.int64),
            },
        )

    def stopped(self, group: int, reason: str) -> None:
        """Nothing to keep."""

    def failed(self, trial: str, failure: WorkerFailure) -> None:
        """Write the record of a trial that ended."""
        self._end(failed(self._records[trial], failure, "measure"))

    def _end(self, record: Record) -> None:
        record = finished(record)
        self._context.writer.append(record)
        self._context.on_event(TrialEnded(record))
