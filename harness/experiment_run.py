"""One experiment of a run: its trials are built and examined, then timed against each other; each ends in a record."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from harness.coordinator import Coordinator, Group, group_by_memory
from harness.errors import UserError
from harness.events import Resumed, TrialEnded, TrialExamined
from harness.journal import Earlier, Groups, Journal, still_there
from harness.launcher import WorkerFailure
from harness.load_run import load_tested
from harness.plan import Experiment
from harness.replicate import Ready, Replicate, Tools
from harness.reserve import cores_for, out_of_the_way
from harness.schema import NO_LOAD_TEST, Artifact, ModelSource, Record, Status, Timing, Trial, Unmeasured
from harness.trial_run import Context, Ended, Examined, TrialRun, failed, finished

MEMORY_SHARE = 0.8  # of what is available; the rest is left to the page cache and the system


class ExperimentRun:
    """One experiment of a run: holds what its steps share. It starts from what earlier parts of the run did."""

    def __init__(self, experiment: Experiment, context: Context, journal: Journal) -> None:
        self._experiment = experiment
        self._context = context
        self._journal = journal
        self._earlier = journal.earlier(experiment.name)
        # Found in this part of the run: since an earlier one the user may have changed a model.
        self._fingerprints: dict[ModelSource, str] = {}

    def run(self) -> None:
        """Build and examine each trial, then time the survivors; every trial ends in one record."""
        if self._earlier:
            self._context.on_event(_resumed(self._experiment.name, self._earlier))
        examined: list[Examined] = []
        for trial in self._experiment.trials:
            if trial.name in self._earlier.ended:
                continue
            try:
                examined.append(self._examined(trial))
            except Ended as ended:
                self._end(ended.record)
        if not examined:
            return
        # Once it is settled who is measured with whom, the baseline was there.
        if examined[0].ready.trial.role != "baseline" and not self._earlier.groups:
            baseline = self._experiment.baseline.name
            reason = f"the baseline '{baseline}' did not run, so there is nothing to compare with"
            for item in examined:
                self._end(replace(item.record, status=Status.SKIPPED, reason=reason, stage="measure"))
            return
        self._measure(examined)

    def _examined(self, trial: Trial) -> Examined:
        """Return a trial's examination: the earlier one while its artifact is there, else a new one.

        Raises Ended with the record when the trial goes no further.
        """
        before = self._earlier.examined.get(trial.name)
        if before is not None and (self._earlier.done(trial.name) or still_there(before)):
            item = before
        else:
            item = self._built(trial)
            if before is not None and self._earlier.timed(trial.name) and _files(item) != _files(before):
                reason = (
                    "its artifact was lost from the cache, and building it again gave another one, which cannot be "
                    "added to the samples of the first; start a new run"
                )
                raise Ended(replace(item.record, status=Status.SKIPPED, reason=reason, stage="resume"))
            self._journal.examined(item)
        self._context.on_event(TrialExamined(trial.experiment, trial.name))
        return item

    def _built(self, trial: Trial) -> Examined:
        """Build and examine a trial; raises Ended as it does, and UserError as ``_check_unchanged``."""
        experiment = self._experiment
        try:
            return TrialRun(trial, experiment.measure, experiment.seed, self._context, self._fingerprints).examined()
        finally:
            if trial.source is not None:
                self._check_unchanged(trial.source)

    def _check_unchanged(self, source: ModelSource) -> None:
        """Raise UserError when a model of the user's own is another than it was in an earlier part of the run."""
        before, now = self._earlier.fingerprints().get(source), self._fingerprints.get(source)
        if before is not None and now is not None and before != now:
            raise UserError(
                f"the model {self._experiment.model} was changed since the run started, so its trials cannot be "
                "compared any more; start a new run"
            )

    def _measure(self, examined: Sequence[Examined]) -> None:
        """Time all examined trials against each other and write their records."""
        experiment = self._experiment
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
        records = {item.ready.trial.name: item.record for item in examined}
        keeper = _Keeper(experiment.name, self._journal, records, self._end)
        coordinator = Coordinator(experiment.name, experiment.measure, experiment.seed, tools, keeper)
        with out_of_the_way(most):
            measured = coordinator.measure(self._groups({item.ready.trial.name: item.ready for item in examined}))
            for item in examined:
                name = item.ready.trial.name
                if name in measured.timings:
                    timing = Timing(samples=f"samples/{experiment.name}", **vars(measured.timings[name]))
                    self._end(self._load_tested(item.ready, replace(item.record, timing=timing)))

    def _load_tested(self, ready: Ready, record: Record) -> Record:
        """Return the record with the trial's LoadGen test, where the suite asks for one."""
        load = self._experiment.load
        if load is None:
            return record
        timeout_s = self._experiment.measure.stage_timeout_s
        return replace(record, scenario=load_tested(ready, load, timeout_s, self._context))

    def _groups(self, ready: Mapping[str, Ready]) -> list[Group]:
        """Return who is measured with whom: as it was settled earlier, else as memory allows now."""
        name, settled = self._experiment.name, self._earlier.groups
        if not settled:
            memory = int(psutil.virtual_memory().available * MEMORY_SHARE)
            settled = _names(group_by_memory(list(ready.values()), memory))
            self._journal.groups(name, settled)
        return [
            Group(
                members=tuple(ready[n] for n in members if n in ready),
                earlier=self._journal.replicates(name, index),
                stopped_by=self._earlier.stopped.get(index, ""),
            )
            for index, members in enumerate(settled)
        ]

    def _end(self, record: Record) -> None:
        if self._experiment.load is not None and record.scenario == Unmeasured(NO_LOAD_TEST):
            record = replace(record, scenario=Unmeasured("not reached"))
        record = finished(record)
        self._context.writer.append(record)
        self._context.on_event(TrialEnded(record))


@dataclass(frozen=True)
class _Keeper:
    """Keeps what the coordinator reaches; ``records`` are those of the trials it times, as far as they are."""

    experiment: str
    journal: Journal
    records: Mapping[str, Record]
    end: Callable[[Record], None]

    def replicate(self, group: int, replicate: Replicate) -> None:
        """Keep a replicate's samples."""
        self.journal.replicate(self.experiment, group, replicate)

    def stopped(self, group: int, reason: str) -> None:
        """Keep that a group is done."""
        self.journal.stopped(self.experiment, group, reason)

    def failed(self, trial: str, failure: WorkerFailure) -> None:
        """Write the trial's record."""
        self.end(failed(self.records[trial], failure, "measure"))


def _resumed(experiment: str, earlier: Earlier) -> Resumed:
    waiting = tuple(name for name in earlier.examined if name not in earlier.ended)
    return Resumed(experiment, dict(earlier.ended), waiting, sum(earlier.replicates))


def _files(item: Examined) -> Mapping[str, str]:
    return item.record.artifact.files if isinstance(item.record.artifact, Artifact) else {}


def _names(groups: Sequence[Sequence[Ready]]) -> Groups:
    return tuple(tuple(ready.trial.name for ready in group) for group in groups)
