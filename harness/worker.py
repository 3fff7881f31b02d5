"""Inside the child: commands in, events out. Started as ``python -m harness.worker``.

A measure worker is what a user would deploy: Python, numpy, one runtime and the artifact. A build worker may
load anything. Neither survives its coordinator.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import faulthandler
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from harness.artifacts import intact, read_description
from harness.backends import BACKENDS
from harness.backends.base import Arrays, Session, SessionOptions, Unavailable
from harness.cache import Cache
from harness.dataset import TestData, read_card, read_test_data
from harness.errors import HarnessError, InvalidOutputError, UnsupportedError
from harness.measure.memory import HELD, growth_per_call, peak_rss_bytes, reset_peak, rss_bytes, set_sizes
from harness.measure.quality import METRICS
from harness.protocol import (
    Message,
    receive,
    send,
    sentence_of,
    status_of,
    trial_from_message,
    value_to_message,
)
from harness.reference import check_finite, verify
from harness.schema import Trial, Unmeasured
from harness.workloads.base import WORKLOADS

PR_SET_PDEATHSIG = 1
DISTINCT_BATCHES = 8
MEMORY_CALLS = 5
FEWEST_PROFILED, MOST_PROFILED = 3, 100
CALIBRATION_S = 0.05


class Worker:
    """Serves one trial until the other side is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._trial: Trial | None = None
        self._session: Session | None = None
        self._directory = Path()
        self._test_path = Path()

    def serve(self) -> None:
        """Answer each command with one reply; a failed command is answered with its status and reason."""
        while True:
            try:
                message = receive(self._connection)
            except (EOFError, OSError):
                return
            command = str(message.pop("command"))
            send(self._connection, self._answer(command, message))

    def _answer(self, command: str, message: Message) -> Message:
        handler: Callable[..., Message] = getattr(self, f"_do_{command}")
        try:
            return {"ok": True, **handler(**message)}
        except Exception as error:  # noqa: BLE001 (whatever a model or a runtime raises becomes the trial's record)
            traceback.print_exc()
            sys.stderr.flush()
            return {"ok": False, "status": status_of(error), "reason": sentence_of(error)}

    # -- build -----------------------------------------------------------------------------------------------

    def _do_build(self, trial: Message, seed: int, cache: str) -> Message:
        from harness.build import Builder  # the measured process has no use for it

        def report(step: str) -> None:
            send(self._connection, {"event": "step", "name": step})

        builder = Builder(trial_from_message(trial), seed, Cache(Path(cache)), report)
        built = builder.build()
        return {
            "artifact": dataclasses.asdict(built.artifact),
            "directory": str(built.directory),
            "test_data": str(built.test_data),
            "fingerprint": builder.fingerprint,
        }

    def _do_inspect(self, trial: Message) -> Message:
        """Look at a user's model; returns the parts of an ``Inspection``."""
        from harness.inspection import inspect_model

        return dataclasses.asdict(inspect_model(trial_from_message(trial)))

    # -- measure ---------------------------------------------------------------------------------------------

    def _do_start(self, trial: Message, directory: str, test_data: str) -> Message:
        """Import the runtime, nothing else; returns the memory floor."""
        self._trial = trial_from_message(trial)
        self._directory = Path(directory)
        backend = BACKENDS.get(self._trial.backend)
        probe = backend.probe("measure")
        if isinstance(probe, Unavailable):
            raise UnsupportedError(probe.reason)
        backend.import_runtime()
        self._test_path = Path(test_data)
        gc.collect()
        return {"floor_bytes": rss_bytes()}

    def _do_load(self, cores: list[int]) -> Message:
        """Pin to ``cores`` (empty: anywhere), check the artifact's hashes and open it.

        Returns seconds and the peak memory of loading.
        """
        trial = self._require_trial()
        if cores:
            pin(set(cores))
        if not intact(self._directory):
            raise HarnessError(f"the artifact in {self._directory} is damaged; delete the folder to build it anew")
        description = read_description(self._directory, cached=True)
        if description.code:
            from harness.targets import import_place  # only a pickled module needs its own code

            import_place(description.code, trial.source.path if trial.source else "")
        reset_peak()
        began = time.perf_counter()
        self._session = BACKENDS.get(trial.backend).load(self._directory, self._options())
        seconds = time.perf_counter() - began
        return {"load_s": seconds, "load_peak_bytes": peak_rss_bytes()}

    def _do_first(self) -> Message:
        """Run the first call on real inputs; returns its seconds."""
        batch = self._batches(1)[0]
        session = self._require_session()
        began = time.perf_counter()
        session(batch)
        return {"first_call_s": time.perf_counter() - began}

    def _do_memory(self) -> Message:
        """Return the peak memory of a few calls, what is held after them, and how it grows with further ones."""
        session, batch = self._require_session(), self._batches(1)[0]
        session.reset_device_memory()
        reset_peak()
        for _ in range(MEMORY_CALLS):
            session(batch)
        peak, held, device, executed = peak_rss_bytes(), set_sizes(), session.device_memory(), session.executed()
        asked, actual = self._require_trial().threads, executed.get("threads")
        if actual is not None and actual != asked:
            raise InvalidOutputError(f"asked for {asked} threads, the runtime says that it runs {actual}")
        sizes = {name: held if isinstance(held, Unmeasured) else getattr(held, name) for name in HELD}
        return {
            "inference_peak_bytes": peak,
            **{name: value_to_message(size) for name, size in sizes.items()},
            "growth_bytes_per_call": value_to_message(growth_per_call(lambda: session(batch))),
            "device_memory": device,
            "executed": executed,
        }

    def _do_sustain(self, seconds: float) -> Message:
        """Call back to back for about ``seconds``, at least once, while the parent watches; returns the calls."""
        session, batches = self._require_session(), self._batches(DISTINCT_BATCHES)
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < seconds:
            session.timed(batches[calls % len(batches)])
            calls += 1
        session.synchronize()
        return {"calls": calls, "wall_s": time.perf_counter() - began}

    def _do_profile(self, seconds: float) -> Message:
        """Let the runtime tell what it executes in about ``seconds`` of calls; the last command of a process.

        A runtime that cannot tell, or fails at it, is no reason to lose the trial: the reply carries the reason.
        """
        trial, session, batches = self._require_trial(), self._require_session(), self._batches(DISTINCT_BATCHES)
        began = time.perf_counter()
        session(batches[0])
        calls = max(FEWEST_PROFILED, min(MOST_PROFILED, int(seconds / max(time.perf_counter() - began, 1e-9))))
        backend = BACKENDS.get(trial.backend)
        try:
            told = backend.profile(self._directory, self._options(), session, batches, calls)
        except Exception as error:  # noqa: BLE001 (a profiler may raise anything)
            traceback.print_exc()
            told = Unmeasured(f"the profiler of {trial.backend} failed: {sentence_of(error)}")
        return {"execution": dataclasses.asdict(told)}

    def _do_verify(self, within_s: float | None = None) -> Message:
        """Hold the outputs on real inputs against the stored reference; returns the parts of a ``FidelityCheck``."""
        kind = read_description(self._directory, cached=True).fidelity
        return dataclasses.asdict(verify(self._require_session(), self._directory, kind, within_s))

    def _do_evaluate(self, output: str) -> Message:
        """Run the whole test split; writes predictions and scores (npz) and returns the metric's value and n."""
        session, trial = self._require_session(), self._require_trial()
        metric = read_card(self._test_path).metric
        if metric is None:
            raise HarnessError("this test data has no metric; do not send 'evaluate'")
        judge, data = METRICS.get(metric), self._load_test()
        n, size = len(data.split), trial.batch_size
        predictions, scores = [], []
        for start in range(0, n, size):
            keep = min(size, n - start)
            outputs = session(data.split.batch(size, start))  # the last batch is filled up, and cut after the run
            outputs = tuple(o[np.newaxis] for o in outputs) if data.split.stacked else outputs
            outputs = tuple(o[:keep] for o in outputs)
            check_finite(outputs)
            predictions.append(judge.predict(outputs))
            scores.append(judge.score(outputs, data.right(start, keep)))
        values = np.concatenate(scores)
        arrays = {"score": values}
        kept = [p for p in predictions if p is not None]
        if kept:
            arrays["prediction"] = np.concatenate(kept)
        if data.split.targets is not None:
            arrays["target"] = data.split.targets
        np.savez(output, **arrays)  # type: ignore[arg-type]
        return {"value": judge.value(values, data.split.targets), "n": n}

    def _do_ready(self) -> Message:
        """Prepare the timed loop and return the median seconds of a call."""
        trial, session = self._require_trial(), self._require_session()
        self._loop = WORKLOADS.get(trial.workload)(session, self._batches(DISTINCT_BATCHES))
        _still()
        if session.compilations() is not None:  # every batch, so that nothing is left to compile when it is timed
            for batch in self._batches(DISTINCT_BATCHES):
                session(batch)
        began, samples = time.perf_counter(), [*self._loop.block(1)]
        while time.perf_counter() - began < CALIBRATION_S:
            samples += self._loop.block(1, warmup_s=0.0)
        return {"call_s": float(np.median(samples)) / 1e9}

    def _do_block(self, calls: int) -> Message:
        """Run one block; returns the nanoseconds of each call."""
        session = self._require_session()
        before = session.compilations()
        nanoseconds = self._loop.block(calls)
        if session.compilations() != before:
            raise InvalidOutputError("the module was compiled anew while it was timed: its inputs do not repeat")
        return {"ns": nanoseconds}

    def _do_loadgen(self, load: Message, root: str, log: str) -> Message:
        """Run the trial's scenario with LoadGen; returns the parts of a ``Scenario``."""
        from harness.workloads.scenario import ScenarioRun  # LoadGen only where it is asked for

        def report(test: str) -> None:
            send(self._connection, {"event": "step", "name": test})

        trial, session = self._require_trial(), self._require_session()
        run = ScenarioRun(trial, load, self._load_test().split, Path(root), log, report)
        _still()
        return {"scenario": dataclasses.asdict(run.run(session))}

    # -- helpers ---------------------------------------------------------------------------------------------

    def _load_test(self) -> TestData:
        return read_test_data(self._test_path)

    def _batches(self, most: int) -> list[Arrays]:
        split, size = self._load_test().split, self._require_trial().batch_size
        count = max(1, min(most, len(split) // size))
        return [split.batch(size, i * size) for i in range(count)]

    def _options(self) -> SessionOptions:
        trial = self._require_trial()
        return SessionOptions(trial.threads, trial.options, trial.device)

    def _require_trial(self) -> Trial:
        if self._trial is None:
            raise HarnessError("the worker was not started; send 'start' first")
        return self._trial

    def _require_session(self) -> Session:
        if self._session is None:
            raise HarnessError("the worker has no session; send 'load' first")
        return self._session


def _still() -> None:
    """Turn the garbage collector off, as timeit does: a collection belongs to no particular call."""
    gc.collect()
    gc.freeze()
    gc.disable()


def pin(cores: set[int]) -> None:
    """Bind all threads that exist to ``cores``; later ones inherit it.

    Done after the runtime's import, so that the imports of many workers may use every core.
    """
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            continue  # a thread that has just ended


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its coordinator dies, even while it is stopped (Linux prctl)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)


def guard_group(parent: int) -> None:
    """Fork a small watcher that kills this process group when the coordinator dies.

    A build starts compilers; the death signal does not reach grandchildren.
    """
    watched = [os.pidfd_open(parent), os.pidfd_open(os.getpid())]
    if os.fork():
        for fd in watched:
            os.close(fd)
        return
    for fd in range(3, 1024):  # hold no socket open
        if fd not in watched:
            try:
                os.close(fd)
            except OSError:
                continue
    ready, _, _ = select.select(watched, [], [])
    if watched[0] in ready:
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(0)


def main(argv: list[str] | None = None) -> None:
    """Serve the commands that arrive on the socket given by ``--fd``."""
    parser = argparse.ArgumentParser(prog="harness.worker")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--role", choices=("build", "measure"), required=True)
    parser.add_argument("--cores", required=True, help="comma-separated cores that the process may use")
    arguments = parser.parse_args(argv)
    die_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's affair
    faulthandler.enable()
    os.sched_setaffinity(0, {int(core) for core in arguments.cores.split(",")})
    if arguments.role == "build":
        guard_group(arguments.parent)
    Worker(Connection(arguments.fd)).serve()


if __name__ == "__main__":
    main()
