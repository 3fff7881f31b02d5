"""One run of a suite on this host: lock, header, and one experiment after another."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness.cache import Cache, default_root
from harness.confirm import confirm
from harness.environment import host_fingerprint
from harness.errors import UserError
from harness.events import BusyHost, Event, ExperimentStarted, RunStarted
from harness.experiment_run import ExperimentRun
from harness.header import SuiteSource, check_resumable, is_complete, make_header, now_text
from harness.journal import Journal, still_there
from harness.launcher import Launcher, Spawn, isolation_unavailable
from harness.measure.busy import LABEL_CORES, crowded, settle
from harness.measure.contention import Probe, kernel_probe
from harness.plan import Experiment
from harness.reserve import host_lock
from harness.store import Run, RunWriter, read_run
from harness.trial_run import LOGS, Context


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and on what terms.

    Attributes:
        cache: folder of cached builds; None for the user's.
        models: a folder of the user's own, kept for a later resume.
        neighbors: what to do about other programs on the host: ``refuse`` to start when they leave too few cores,
            take it as it is and ``label`` the run, or ``ignore`` them (the selftest).
        isolate: give the workers scheduling groups of their own; what it cannot do here is a UserError.
    """

    results: Path
    cache: Path | None
    models: Path | None = None
    neighbors: Literal["refuse", "label", "ignore"] = "ignore"
    isolate: bool = False


class Runner:
    """Runs experiments one after another; ``on_event`` is told what happens."""

    def __init__(
        self,
        options: RunOptions,
        on_event: Callable[[Event], None] = lambda _: None,
        *,
        spawn: Callable[[Path], Spawn] | None = None,
        now: Callable[[], float] = time.monotonic,
        probe: Callable[[Collection[int]], Probe] = kernel_probe,
    ) -> None:
        self._options = options
        self._on_event = on_event
        self._make_spawn = spawn or functools.partial(Launcher, isolate=options.isolate)
        self._now = now
        self._make_probe = probe

    def run(self, suite: str, seed: int, experiments: Sequence[Experiment], source: SuiteSource | None = None) -> Path:
        """Run everything and return the run's folder; it can be resumed when ``source`` is given.

        Raises HostLockedError when another run measures here, and UserError when the host is busy or cannot isolate.
        """
        with host_lock():
            host = host_fingerprint()
            busy = self._neighbors(experiments)
            directory = self._options.results / f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            chosen = self._options
            options = {
                "cache": None if chosen.cache in (None, default_root()) else str(chosen.cache.resolve()),
                "models": None if chosen.models is None else str(chosen.models.resolve()),
            }
            header = make_header(suite, seed, experiments, host, source, options)
            writer = RunWriter(directory, {**header, **busy, "isolated": chosen.isolate})
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
            self._neighbors(experiments)
            writer = RunWriter.reopen(run, now_text())
            self._on_event(RunStarted(directory))
            self._experiments(experiments, writer, host["id"], run)
            return directory

    def confirm(self, directory: Path, experiment: Experiment, trials: Sequence[str]) -> Path:
        """Time trials of a finished run alone; returns the file of samples.

        Raises UserError as ``resume``, and when what was measured is no longer in the cache.
        """
        with host_lock():
            run = read_run(directory)
            host = host_fingerprint()
            check_resumable(run, None, host)
            writer = RunWriter.reopen(run, None)
            context = self._context(writer, host["id"])
            examined = Journal(writer, context.cache, run.records).earlier(experiment.name).examined
            chosen = [examined[name] for name in trials if name in examined and still_there(examined[name])]
            if len(chosen) != len(trials):
                raise UserError(f"{run.name}: what was measured is no longer in the cache; start a new run")
            return confirm(experiment.name, experiment.measure, chosen, context)

    def _neighbors(self, experiments: Sequence[Experiment]) -> dict[str, Any]:
        """Return what a header says of other programs; raises UserError when they leave too few cores."""
        if self._options.isolate and (reason := isolation_unavailable()):
            raise UserError(f"--isolate: {reason}")
        if self._options.neighbors == "ignore":
            return {}
        threads = max((t.threads for e in experiments for t in e.trials if not t.unsupported), default=1)
        seen = settle(threads)
        if self._options.neighbors == "refuse" and crowded(seen, threads):
            raise UserError(
                f"the host is busy: {seen.describe()}, and this suite measures with {threads}; end them, or measure "
                "all the same with --force, and the run will say so"
            )
        if seen.used > LABEL_CORES:
            self._on_event(BusyHost(seen.describe()))
        return {"neighbors": asdict(seen)}

    def _experiments(
        self, experiments: Sequence[Experiment], writer: RunWriter, host: str, earlier: Run | None = None
    ) -> None:
        began = self._now()
        context = self._context(writer, host)
        journal = Journal(writer, context.cache, earlier.records if earlier else ())
        for position, experiment in enumerate(experiments, start=1):
            names = tuple(trial.name for trial in experiment.trials)
            self._on_event(ExperimentStarted(experiment.name, names, position, len(experiments)))
            ExperimentRun(experiment, context, journal).run()
        writer.part_done(self._now() - began)

    def _context(self, writer: RunWriter, host: str) -> Context:
        return Context(
            cache=Cache(self._options.cache or default_root()),
            writer=writer,
            spawn=self._make_spawn(writer.directory / LOGS),
            host=host,
            now=self._now,
            make_probe=self._make_probe,
            on_event=self._on_event,
        )
