"""One run of a suite on this host: lock, header, and one experiment after another."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import __version__
from harness.backends.base import distribution_versions
from harness.cache import Cache
from harness.environment import host_fingerprint
from harness.events import Event, ExperimentStarted
from harness.experiment_run import ExperimentRun
from harness.host import host_lock
from harness.launcher import Launcher, Spawn
from harness.measure.contention import Probe, kernel_probe
from harness.plan import Experiment
from harness.store import RunWriter
from harness.trial_run import Context

LISTED = ("torch", "onnx", "onnxruntime", "onnxscript", "openvino", "torch-pruning", "scikit-learn", "numpy")


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes."""

    results: Path
    cache: Path


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

    def run(self, suite: str, seed: int, experiments: Sequence[Experiment]) -> Path:
        """Run everything and return the run's folder. Raises HostLockedError when another run measures here."""
        with host_lock():
            host = host_fingerprint()
            directory = self._options.results / f"{suite}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            writer = RunWriter(directory, _header(suite, seed, experiments, host))
            context = Context(
                cache=Cache(self._options.cache),
                writer=writer,
                spawn=self._make_spawn(directory / "logs"),
                host=host["id"],
                now=self._now,
                make_probe=self._make_probe,
                on_event=self._on_event,
            )
            for position, experiment in enumerate(experiments, start=1):
                self._on_event(ExperimentStarted(experiment.name, len(experiment.trials), position, len(experiments)))
                ExperimentRun(experiment, context).run()
            return directory


def _header(suite: str, seed: int, experiments: Sequence[Experiment], host: dict[str, Any]) -> dict[str, Any]:
    versions, _ = distribution_versions(LISTED)
    return {
        "suite": suite,
        "seed": seed,
        "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "harness": __version__,
        "command": sys.argv,
        "host": host,
        "versions": versions,
        "experiments": [
            {
                "name": e.name,
                "model": e.model,
                "baseline": e.baseline.name,
                "trials": [t.name for t in e.trials],
                "measure": e.measure.model_dump(mode="json"),
                "quality_margin": e.quality_margin,
            }
            for e in experiments
        ],
    }
