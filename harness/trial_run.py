"""One trial of a run, up to what timing needs: build it, examine it, and its record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import Cache, key_of
from harness.codec import artifact_from_json, execution_from_json
from harness.dataset import read_card
from harness.environment import cpu_flags
from harness.events import Built, Event, StageStarted
from harness.header import now_text
from harness.launcher import Role, Spawn, WorkerFailure, WorkerHandle, log_name
from harness.measure.contention import Probe, evidence
from harness.measure.memory import HELD
from harness.measure.quality import METRICS
from harness.measure.resources import Instruments, Used, Watched, device_memory, unused, watch
from harness.passes import PASSES
from harness.protocol import value_from_message
from harness.replicate import Ready
from harness.reserve import cores_for, out_of_the_way
from harness.schema import (
    Artifact,
    Execution,
    Fidelity,
    FidelityCheck,
    Memory,
    ModelSource,
    Quality,
    Record,
    Status,
    Trial,
    Unmeasured,
)
from harness.store import RunWriter
from harness.suite import Measure

LOGS = "logs"  # below the run's folder
PROFILE_S = 0.5  # of calls under the runtime's profiler
WATCH_PATIENCE = 2  # blocks in which the use of the machine is watched, at most


@dataclass(frozen=True)
class Context:
    """What all steps of a run share."""

    cache: Cache
    writer: RunWriter
    spawn: Spawn
    host: str
    now: Callable[[], float]
    make_probe: Callable[[Collection[int]], Probe]
    on_event: Callable[[Event], None]
    instruments: Instruments = field(default_factory=Instruments)


@dataclass(frozen=True)
class Examined:
    """A built and examined trial: what timing needs, and its record so far.

    Attributes:
        fingerprint: what a model of the user's own stood for when it was built; empty for the harness's own.
    """

    ready: Ready
    record: Record
    fingerprint: str = ""


class Ended(Exception):
    """A trial ended early; carries its record."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.reason)
        self.record = record


class TrialRun:
    """Builds and examines one trial.

    Args:
        fingerprints: what models of the user's own stand for; each is found out by its first build, so that the
            next ones need not run its code again to know.
    """

    def __init__(
        self, trial: Trial, policy: Measure, seed: int, context: Context, fingerprints: dict[ModelSource, str]
    ) -> None:
        self._trial = trial
        self._policy = policy
        self._seed = seed
        self._context = context
        self._fingerprints = fingerprints
        self._record = Record(
            run=context.writer.directory.name,
            trial=trial,
            status=Status.OK,
            host=context.host,
            finished_at="",
        )

    def examined(self) -> Examined:
        """Build and examine; raises Ended with the record when the trial goes no further."""
        if self._trial.unsupported:
            reason = self._trial.unsupported
            raise Ended(replace(self._record, status=Status.UNSUPPORTED, reason=reason, stage="plan"))
        return self._examine(self._build())

    def _build(self) -> Examined:
        """Build in a process of its own and add the artifact to the record."""
        trial = self._trial
        self._context.on_event(StageStarted(trial.experiment, trial.name, "build"))
        with self._worker(self._record, "build") as worker:
            worker.on_event = lambda e: self._context.on_event(
                StageStarted(trial.experiment, trial.name, "build", str(e["name"]))
            )
            reply = worker.call(
                "build",
                self._policy.build_timeout_s,
                trial=asdict(self._known()),
                seed=self._seed,
                cache=str(self._context.cache.root),
            )
        if trial.source is not None:
            self._fingerprints[trial.source] = reply["fingerprint"]
        artifact = artifact_from_json(reply["artifact"])
        self._context.on_event(Built(trial.experiment, trial.name, artifact.cached, artifact.build_s))
        ready = Ready(trial, Path(reply["directory"]), Path(reply["test_data"]), 0)
        return Examined(ready, replace(self._record, artifact=artifact), reply["fingerprint"])

    def _known(self) -> Trial:
        """Return the trial with the fingerprint that an earlier build of the same model found."""
        source = self._trial.source
        if source is None or source not in self._fingerprints:
            return self._trial
        return replace(self._trial, source=replace(source, fingerprint=self._fingerprints[source]))

    def _examine(self, built: Examined) -> Examined:
        """In a fresh measure worker: start, load, first call, memory, outputs against the reference, use, quality."""
        trial, record, timeout = self._trial, built.record, self._policy.stage_timeout_s
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
            use = self._use(worker, used["device_memory"])
            quality = self._quality(built, worker.call)
            execution = self._execution(worker)
        memory = Memory(
            start["floor_bytes"],
            load["load_peak_bytes"],
            used["inference_peak_bytes"],
            **{name: value_from_message(used[name]) for name in (*HELD, "growth_bytes_per_call")},
        )
        fidelity = FidelityCheck(Fidelity(check["kind"]), check["relative_error"], check["bound"], check["n"])
        record = replace(
            record,
            startup_s=startup_s,
            memory=memory,
            fidelity=fidelity,
            quality=quality,
            execution=execution,
            utilization=use.utilization,
            energy=use.energy,
            device_memory=device_memory(used["device_memory"], use)
            if self._on_gpu()
            else Unmeasured(f"the trial runs on the {trial.device}, which has no memory of its own"),
            actual={"requested_precision": requested_precision(trial), **used["executed"]},
        )
        peak = max(memory.load_peak_bytes, memory.inference_peak_bytes)
        return replace(built, ready=replace(built.ready, peak_bytes=peak), record=record)

    def _execution(self, worker: WorkerHandle) -> Execution | Unmeasured:
        """Ask the runtime what it executes; whatever goes wrong at it is the reason and ends nothing."""
        try:
            told = worker.call("profile", self._policy.stage_timeout_s, seconds=PROFILE_S)["execution"]
        except WorkerFailure as failure:
            return Unmeasured(f"{failure.status} while the runtime was asked: {failure.reason}")
        return Unmeasured(**told) if set(told) == {"reason"} else execution_from_json(told)

    def _on_gpu(self) -> bool:
        return self._trial.device.startswith("cuda")

    def _use(self, worker: WorkerHandle, device: Mapping[str, Any] | None) -> Used:
        """Watch the worker from outside in a block of its own; ``device`` is what it said of its GPU.

        A block that others disturbed is repeated once; of two disturbed ones the less disturbed is kept.
        """
        seconds, trial = self._policy.utilization_s, self._trial
        if not seconds:
            return unused("switched off: measure.utilization_s is 0")
        uuid = None if device is None else str(device["uuid"])
        watched = Watched(worker.pid, trial.batch_size, self._on_gpu(), uuid)
        cores = cores_for(trial.threads) or os.sched_getaffinity(0)
        probe, best = self._context.make_probe(cores), None
        with out_of_the_way(trial.threads):
            for _ in range(WATCH_PATIENCE):
                before = probe([worker.pid])
                used = watch(
                    watched,
                    seconds,
                    lambda s: worker.call("sustain", self._policy.stage_timeout_s + s, seconds=s),
                    self._context.instruments,
                )
                outside = evidence(before, probe([worker.pid]), len(cores))
                if best is None or outside.share < best[0].share:
                    best = outside, used
                if not outside.dirty:
                    break
        assert best is not None
        return best[1].marked(disturbed=best[0].dirty)

    def _quality(self, built: Examined, call: Callable[..., dict[str, Any]]) -> Quality | Unmeasured:
        """Evaluate on the test split, or take the predictions from the cache.

        Keyed by what is computed, the data and the CPU's flags, because the same file gives other answers on
        another instruction set. Batch size and thread count change the last bits of an output only, and the outputs
        of every artifact are held against the reference, so they share predictions.
        """
        trial, artifact = self._trial, built.record.artifact
        card = read_card(built.ready.test_data)
        if card.metric is None:
            return Unmeasured(card.reason)
        assert isinstance(artifact, Artifact)
        key = key_of(
            {
                "artifact": [artifact.lineage, artifact.versions],
                "data": built.ready.test_data.parent.name,
                "cpu": cpu_flags(),
                "trial": [trial.options, trial.interpreter, trial.device],
            }
        )

        def make(directory: Path) -> None:
            output = str(directory / "scores.npz")
            call("evaluate", self._policy.build_timeout_s, output=output)

        directory, cached = self._context.cache.get_or_make("predictions", key, make)
        with np.load(directory / "scores.npz") as stored:
            columns = {name: stored[name] for name in ("prediction", "target", "score") if name in stored.files}
        name = self._context.writer.table(
            f"predictions/{trial.experiment}/{trial.name}.parquet",
            {"example": np.arange(len(columns["score"])), **columns},
        )
        scores, judge = columns["score"], METRICS.get(card.metric)
        value = judge.value(scores, columns.get("target"))
        return Quality(card.metric, value, len(scores), judge.higher_is_better, name, cached, card.kind)

    @contextlib.contextmanager
    def _worker(self, record: Record, role: Role) -> Iterator[Any]:
        """Start a worker and end it; its failure ends the trial."""
        worker = None
        try:
            worker = self._context.spawn(self._trial, role)
            yield worker
        except WorkerFailure as failure:
            raise Ended(failed(record, failure, role)) from failure
        finally:
            if worker is not None:
                worker.close()


def requested_precision(trial: Trial) -> str:
    """Return the number format that a trial's passes or options ask for; ``float32`` where none does."""
    asked = [PASSES.get(spec.name)(**spec.params).requested_precision() for spec in trial.passes]
    option = str(trial.options.get("precision", ""))
    return next((p for p in reversed(asked) if p), {"bf16": "bfloat16", "f16": "float16"}.get(option, "float32"))


def failed(record: Record, failure: WorkerFailure, role: Role) -> Record:
    """Return the record of a trial whose worker failed."""
    log = f"{LOGS}/{log_name(record.trial, role)}"
    return replace(record, status=failure.status, reason=failure.reason, stage=failure.stage, log=log)


def finished(record: Record) -> Record:
    """Return the record as it is kept: with its time, and in every field that was not reached why it was not."""
    record = replace(record, finished_at=now_text())
    if record.status is Status.OK:
        return record
    why = Unmeasured(f"the trial ended as {record.status} in stage '{record.stage}'")
    fields = (
        "artifact", "fidelity", "quality", "memory", "timing", "startup_s", "scenario", "energy", "utilization",
        "device_memory", "execution",
    )  # fmt: skip
    missing = {name: why for name in fields if getattr(record, name) == Unmeasured("not reached")}
    return replace(record, **missing)  # type: ignore[arg-type]
