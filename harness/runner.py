"""One run of a suite on this host: lock, header, and one experiment after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.cache import Cache, default_root
from harness.environment import host_fingerprint
from harness.events import Event, ExperimentStarted, RunStarted
from harness.experiment_run import ExperimentRun
from harness.header import SuiteSource, check_resumable, is_complete, make_header, now_text
from harness.journal import Journal
from harness.launcher import Launcher, Spawn
from harness.measure.contention import Probe, kernel_probe
from harness.plan import Experiment
from harness.reserve import host_lock
from harness.store import Run, RunWriter, read_run
from harness.trial_run import LOGS, Context


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes; ``models`` is a folder of the user's own, kept for a later resume."""

    results: Path
    cache: Path
    models: Path | None = None


class Runner:
    """Runs experiments one after another; ``on_event`` is told what happens."""

    def __init__(
        self,
        options: RunOptions,
        on_event: Callable[[Event], None] = lambda _: None,
        *,
        spawn: Callable[[Path], Spawn] = Launcher,
        now: Callable[[], float] = time.monotonic,
        probe: Callable[[Collection[int]], Probe] = kernel_probe,
    ) -> None:
        self._options = options
        self._on_event = on_event
        self._make_spawn = spawn
        self._now = now
        self._make_probe = probe

    def run(self, suite: str, seed: int, experiments: Sequence[Experiment], source: SuiteSource | None = None) -> Path:
        """Run everything and return the run's folder; it can be resumed when ``source`` is given.

        Raises HostLockedError when another run measures here.
        """
        with host_lock():
            host = host_fingerprint()
            directory = self._options.results / f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            chosen = self._options
            options = {
                "cache": None if chosen.cache == default_root() else str(chosen.cache.resolve()),
                "models": None if chosen.models is None else str(chosen.models.resolve()),
            }
            writer = RunWriter(directory, make_header(suite, seed, experiments, host, source, options))
            self._on_event(RunStarted(directory))
            self._experiments(experiments, writer, host["id"])
            return directory

    def resume(self, directory: Path, experiments: Sequence[Experiment]) -> Path:
        """Do what is missing of a run, and nothing that is there; ``experiments`` are planned from its own suite.

        Raises UserError when this host or its libraries are not those of the run, and HostLockedError when
        another run measures here.
        """
        with host_lock():
            run = read_run(directory)  # within the lock: nobody else appends to it now
            if is_complete(run):
                return directory
            host = host_fingerprint()
            check_resumable(run, experiments, host)
            writer = RunWriter.reopen(run, now_text())
            self._on_event(RunStarted(directory))
            self._experiments(experiments, writer, host["id"], run)
            return directory

    def _experiments(
        self, experiments: Sequence[Experiment], writer: RunWriter, host: str, earlier: Run | None = None
    ) -> None:
        began = self._now()
        cache = Cache(self._options.cache)
        context = Context(
            cache=cache,
            writer=writer,
            spawn=self._make_spawn(writer.directory / LOGS),
            host=host,
            now=self._now,
            make_probe=self._make_probe,
            on_event=self._on_event,
        )
        journal = Journal(writer, cache, earlier.records if earlier else ())
        for position, experiment in enumerate(experiments, start=1):
            names = tuple(trial.name for trial in experiment.trials)
            self._on_event(ExperimentStarted(experiment.name, names, position, len(experiments)))
            ExperimentRun(experiment, context, journal).run()
        writer.part_done(self._now() - began)
