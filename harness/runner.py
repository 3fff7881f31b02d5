"""One run of a suite on this host: lock, plan, build, examine, measure, record."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness import __version__
from harness.backends.base import distribution_versions
from harness.cache import Cache, key_of
from harness.codec import artifact_from_json
from harness.coordinator import Block, Coordinator, Ready, Tools, TrialTiming
from harness.dataset import read_card
from harness.environment import cpu_flags, host_fingerprint
from harness.errors import HostLockedError
from harness.events import Built, Event, ExperimentStarted, StageStarted, TrialEnded
from harness.launcher import Launcher, Spawn, WorkerFailure
from harness.measure.contention import Probe, kernel_probe
from harness.measure.quality import METRICS
from harness.noise import stored_json
from harness.plan import Experiment
from harness.schema import (
    Artifact,
    Fidelity,
    FidelityCheck,
    Memory,
    ModelSource,
    Quality,
    Record,
    Status,
    Timing,
    Trial,
    Unmeasured,
)
from harness.store import RunWriter

MEMORY_SHARE = 0.8  # of what is available; the rest is left to the page cache and the system
LISTED = ("torch", "onnx", "onnxruntime", "onnxscript", "openvino", "torch-pruning", "scikit-learn", "numpy")


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes."""

    results: Path
    cache: Path


@dataclass(frozen=True)
class _Examined:
    """A built and examined trial."""

    ready: Ready
    record: Record


@dataclass(frozen=True)
class _Context:
    """What all steps of a run share."""

    cache: Cache
    writer: RunWriter
    spawn: Spawn
    host: str
    now: Callable[[], float]
    make_probe: Callable[[Collection[int]], Probe]
    on_event: Callable[[Event], None]


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
            context = _Context(
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
                _ExperimentRun(experiment, context).run()
            return directory


class _ExperimentRun:
    """One experiment of a run: holds what its steps share."""

    def __init__(self, experiment: Experiment, context: _Context) -> None:
        self._experiment = experiment
        self._context = context
        self._fingerprints: dict[ModelSource, str] = {}

    def run(self) -> None:
        """Build and examine each trial, then time the survivors; every trial ends in one record."""
        examined: list[_Examined] = []
        for trial in self._experiment.trials:
            blank = self._blank(trial)
            if trial.unsupported:
                self._end(replace(blank, status=Status.UNSUPPORTED, reason=trial.unsupported, stage="plan"))
                continue
            try:
                examined.append(self._examine(self._build(blank)))
            except _Ended as ended:
                self._end(ended.record)
        if not examined:
            return
        if examined[0].ready.trial.role != "baseline":
            for item in examined:
                reason = (
                    f"the baseline '{self._experiment.baseline.name}' did not run, so there is nothing to compare with"
                )
                self._end(replace(item.record, status=Status.SKIPPED, reason=reason, stage="measure"))
            return
        self._measure(examined)

    # -- steps -----------------------------------------------------------------------------------------------

    def _build(self, record: Record) -> _Examined:
        """Build in a process of its own and add the artifact to the record."""
        trial, timeout = self._known(record.trial), self._experiment.measure.build_timeout_s
        self._context.on_event(StageStarted(trial.experiment, trial.name, "build"))
        with self._worker(record, "build") as worker:
            worker.on_event = lambda e: self._context.on_event(
                StageStarted(trial.experiment, trial.name, "build", str(e["name"]))
            )
            reply = worker.call(
                "build",
                timeout,
                trial=asdict(trial),
                seed=self._experiment.seed,
                cache=str(self._context.cache.root),
            )
        if trial.source:
            # What the model stands for was found out by this build; the next ones need not run its code again.
            self._fingerprints[trial.source] = reply["fingerprint"]
        artifact = artifact_from_json(reply["artifact"])
        self._context.on_event(Built(trial.experiment, trial.name, artifact.cached, artifact.build_s))
        ready = Ready(record.trial, Path(reply["directory"]), Path(reply["test_data"]), 0)
        return _Examined(ready, replace(record, artifact=artifact))

    def _known(self, trial: Trial) -> Trial:
        """Return the trial with the fingerprint that an earlier build of the same model found."""
        if trial.source is None or trial.source not in self._fingerprints:
            return trial
        return replace(trial, source=replace(trial.source, fingerprint=self._fingerprints[trial.source]))

    def _examine(self, built: _Examined) -> _Examined:
        """In a fresh measure worker: start, load, first call, memory, outputs against the reference, quality."""
        trial, record = built.ready.trial, built.record
        timeout = self._experiment.measure.stage_timeout_s
        self._context.on_event(StageStarted(trial.experiment, trial.name, "examine"))
        began = self._context.now()
        with self._worker(record, "measure") as worker:
            start = worker.call(
                "start",
                timeout,
                trial=asdict(trial),
                directory=str(built.ready.directory),
                test_data=str(built.ready.test_data),
            )
            startup_s = self._context.now() - began
            load = worker.call("load", timeout, cores=sorted(cores_for(trial.threads)))
            worker.call("first", timeout)
            used = worker.call("memory", timeout)
            check = worker.call("verify", timeout)
            quality = self._quality(trial, record, built, worker.call)
        memory = Memory(start["floor_bytes"], load["load_peak_bytes"], used["inference_peak_bytes"])
        fidelity = FidelityCheck(Fidelity(check["kind"]), check["relative_error"], check["bound"], check["n"])
        record = replace(
            record,
            startup_s=startup_s,
            memory=memory,
            fidelity=fidelity,
            quality=quality,
            actual=dict(used["executed"]),
        )
        peak = max(memory.load_peak_bytes, memory.inference_peak_bytes)
        return _Examined(replace(built.ready, peak_bytes=peak), record)

    def _quality(
        self, trial: Trial, record: Record, built: _Examined, call: Callable[..., dict[str, Any]]
    ) -> Quality | Unmeasured:
        """Evaluate on the test split, or take the predictions from the cache.

        Keyed by artifact, data, CPU flags, batch size and the runtime's versions: the same file gives other
        answers on another instruction set.
        """
        card = read_card(built.ready.test_data)
        if card.metric is None:
            return Unmeasured(card.reason)
        metric = card.metric
        artifact = record.artifact
        assert isinstance(artifact, Artifact)
        key = key_of(
            {
                "artifact": [artifact.key, artifact.files, artifact.versions],
                "data": built.ready.test_data.parent.name,
                "cpu": cpu_flags(),
                "trial": [trial.batch_size, trial.options, trial.interpreter],
            }
        )

        def make(directory: Path) -> None:
            output = str(directory / "scores.npz")
            call("evaluate", self._experiment.measure.build_timeout_s, output=output)

        directory, cached = self._context.cache.get_or_make("predictions", key, make)
        with np.load(directory / "scores.npz") as stored:
            columns = {name: stored[name] for name in ("prediction", "target", "score") if name in stored.files}
        name = self._context.writer.table(
            f"predictions/{trial.experiment}.{trial.name}.parquet",
            {"example": np.arange(len(columns["score"])), **columns},
        )
        scores = columns["score"]
        better = METRICS.get(metric).higher_is_better
        return Quality(metric, float(scores.mean()), len(scores), better, name, cached, card.kind)

    def _measure(self, examined: Sequence[_Examined]) -> None:
        """Time all examined trials against each other and write their records."""
        most = max(item.ready.trial.threads for item in examined)
        watched = cores_for(most) or os.sched_getaffinity(0)
        tools = Tools(
            spawn=self._context.spawn,
            now=self._context.now,
            probe=self._context.make_probe(watched),
            watched=len(watched),
            cores_for=cores_for,
            memory_bytes=int(psutil.virtual_memory().available * MEMORY_SHARE),
            sink=self._keep_samples,
            on_event=self._context.on_event,
        )
        coordinator = Coordinator(self._experiment.name, self._experiment.measure, self._experiment.seed, tools)
        with out_of_the_way(most):
            measured = coordinator.measure([item.ready for item in examined])
        for item in examined:
            name = item.ready.trial.name
            if name in measured.failures:
                self._end(self._failed(item.record, measured.failures[name], "measure"))
            else:
                self._end(replace(item.record, timing=self._timing(measured.timings[name])))

    def _keep_samples(self, experiment: str, group: int, replicate: int, blocks: Sequence[Block]) -> None:
        lengths = [len(b.ns) for b in blocks]

        def column(values: Sequence[Any], dtype: Any) -> Any:
            return np.repeat(np.array(values, dtype=dtype), lengths)

        names = [b.trial for b in blocks]
        self._context.writer.table(
            f"samples/{experiment}/group-{group}-replicate-{replicate}.parquet",
            {
                "trial": column(names, object) if names else np.array([], dtype=object),
                "replicate": column([b.replicate for b in blocks], np.int32),
                "round": column([b.round for b in blocks], np.int32),
                "position": column([b.position for b in blocks], np.int32),
                "dirty": column([b.dirty for b in blocks], np.bool_),
                "latency_ns": np.array([ns for b in blocks for ns in b.ns], dtype=np.int64),
            },
        )

    # -- records ---------------------------------------------------------------------------------------------

    def _timing(self, timing: TrialTiming) -> Timing:
        return Timing(samples=f"samples/{self._experiment.name}", **asdict(timing))

    def _blank(self, trial: Trial) -> Record:
        return Record(
            run=self._context.writer.directory.name,
            trial=trial,
            status=Status.OK,
            host=self._context.host,
            finished_at="",
            energy_j=Unmeasured("this host gives no energy counter to the harness (RAPL and NVML come later)"),
            utilization=Unmeasured("utilization is not measured yet"),
            device_memory_bytes=Unmeasured(f"the trial runs on the {trial.device}, which has no memory of its own"),
        )

    @contextlib.contextmanager
    def _worker(self, record: Record, role: Any) -> Iterator[Any]:
        """Start a worker and end it; its failure ends the trial."""
        worker = None
        try:
            worker = self._context.spawn(record.trial, role)
            yield worker
        except WorkerFailure as failure:
            raise _Ended(self._failed(record, failure, role)) from failure
        finally:
            if worker is not None:
                worker.close()

    def _failed(self, record: Record, failure: WorkerFailure, role: str) -> Record:
        trial = record.trial
        log = f"logs/{trial.experiment}.{trial.name}.{role if role == 'build' else 'measure'}.log"
        return replace(record, status=failure.status, reason=failure.reason, stage=failure.stage, log=log)

    def _end(self, record: Record) -> None:
        record = _with_reasons(replace(record, finished_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"))
        self._context.writer.append(record)
        self._context.on_event(TrialEnded(record))


class _Ended(Exception):
    """A trial ended early; carries its record."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


def _with_reasons(record: Record) -> Record:
    """Say in every field that was not reached why it was not."""
    if record.status is Status.OK:
        return record
    why = Unmeasured(f"the trial ended as {record.status} in stage '{record.stage}'")
    fields = ("artifact", "fidelity", "quality", "memory", "timing", "startup_s")
    missing = {name: why for name in fields if getattr(record, name) == Unmeasured("not reached")}
    return replace(record, **missing)  # type: ignore[arg-type]


def _header(suite: str, seed: int, experiments: Sequence[Experiment], host: dict[str, Any]) -> dict[str, Any]:
    versions, _ = distribution_versions(LISTED)
    return {
        "suite": suite,
        "seed": seed,
        "started_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "harness": __version__,
        "command": sys.argv,
        "host": host,
        "noise": stored_json(host["id"]),
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


def cores_for(threads: int) -> frozenset[int]:
    """Return the cores that workers with ``threads`` threads share; empty when they need all there are.

    The highest numbers, since the kernel's own work tends to the lowest.
    """
    available = sorted(_ALL_CORES)
    return frozenset(available[-threads:]) if threads < len(available) else frozenset()


_ALL_CORES = frozenset(os.sched_getaffinity(0))


@contextlib.contextmanager
def out_of_the_way(threads: int) -> Iterator[None]:
    """Keep this process off the measured cores where there are others."""
    others = _ALL_CORES - cores_for(threads)
    if not cores_for(threads) or not others:
        yield
        return
    os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, _ALL_CORES)


@contextlib.contextmanager
def host_lock(path: Path | None = None) -> Iterator[None]:
    """Hold this host's measurement lock; raises HostLockedError with the holder's pid when it is taken.

    The kernel releases it when the process ends, however it ends.
    """
    path = path or Path(tempfile.gettempdir()) / "optimization-harness.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read().strip() or "unknown"
            raise HostLockedError(
                f"another measurement runs on this host (pid {holder}); two at once would disturb each other, "
                "so wait for it or end it"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
