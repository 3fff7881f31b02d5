"""The LoadGen test of a trial: in a fresh process, alone, after the rounds."""

from __future__ import annotations

from dataclasses import asdict

from harness.codec import scenario_from_json
from harness.events import StageStarted
from harness.launcher import WorkerFailure, WorkerHandle, log_name
from harness.replicate import Ready
from harness.reserve import cores_for
from harness.schema import Scenario, Unmeasured
from harness.suite import Load
from harness.trial_run import LOGS, Context

STAGE = "loadgen"
FOLDER = "loadgen"  # below the run's folder


def load_tested(ready: Ready, load: Load, timeout_s: float, context: Context) -> Scenario | Unmeasured:
    """Return what LoadGen says of a trial. A worker that fails is a reason: what the rounds measured stands."""
    trial = ready.trial

    def tell(detail: str = "") -> None:
        context.on_event(StageStarted(trial.experiment, trial.name, STAGE, detail))

    tell()
    worker: WorkerHandle | None = None
    try:
        worker = context.spawn(trial, "measure")
        worker.on_event = lambda event: tell(str(event["name"]))
        place = {"directory": str(ready.directory), "test_data": str(ready.test_data)}
        worker.call("start", timeout_s, trial=asdict(trial), **place)
        worker.call("load", timeout_s, cores=sorted(cores_for(trial.threads)))
        worker.call("first", timeout_s)
        worker.call("verify", timeout_s)
        reply = worker.call(
            "loadgen",
            timeout_s,
            load=load.model_dump(mode="json"),
            root=str(context.writer.directory),
            log=f"{FOLDER}/{trial.experiment}/{trial.name}",
        )
        return scenario_from_json(reply["scenario"])
    except WorkerFailure as failure:
        log = f"{LOGS}/{log_name(trial, 'measure')}"
        return Unmeasured(
            f"the load test ended as {failure.status} in '{failure.stage}': {failure.reason} (log: {log})"
        )
    finally:
        if worker is not None:
            worker.close()
