"""One test with MLPerf's LoadGen around a session. Runs in the measured process, imported only when one is asked for.

LoadGen decides when a query comes, takes the time, and judges; here is the system under test. What it found is read
from its detail log, JSON lines of ``:::MLLOG``.
"""

from __future__ import annotations

import importlib.metadata
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays, distribution_versions
from harness.errors import HarnessError, UnsupportedError
from harness.zoo import Split

DISTRIBUTION = "mlcommons-loadgen"
PREFIX = "mlperf_log_"
BEAT_S = 1.0  # how often progress is looked at
NS = 1e9
SCENARIOS = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}


@dataclass(frozen=True)
class Request:
    """What one test shall do.

    Attributes:
        expected: seconds of a query for the streams; queries (``server``) or examples (``offline``) a second.
        bound_s: of a query's latency at ``percentile``; ``server`` only.
    """

    scenario: str
    min_duration_s: float
    min_queries: int
    percentile: float
    expected: float
    samples_per_query: int = 1
    bound_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What LoadGen found.

    Attributes:
        reason: what was not met, empty when valid.
        long_enough: whether the least duration was reached, which hangs on the expectation.
        latency_s: of a query at the percentile.
        rate_per_s: examples answered a second; ``offline`` only, else 0.
        early_stopping_s: LoadGen's safe estimate of the percentile; None where it gives none.
        duration_s: wall time of the test.
    """

    valid: bool
    reason: str
    long_enough: bool
    latency_s: float
    rate_per_s: float
    early_stopping_s: float | None
    queries: int
    samples_per_query: int
    duration_s: float


def version() -> str:
    """Return LoadGen's version; raises UnsupportedError with the remedy when it is not installed."""
    _, missing = distribution_versions((DISTRIBUTION,))
    if missing:
        raise UnsupportedError(f"{DISTRIBUTION} not installed: pip install 'optimization-harness[load]'")
    return importlib.metadata.version(DISTRIBUTION)


class LoadGen:
    """Tests systems on the examples of ``split``; ``on_progress`` is called about once a second while there is some.

    LoadGen is one for a process and cannot be stopped in the middle: when a call raises, its query stays unanswered,
    ``run`` raises what the call raised, and this process can run no further test.
    """

    def __init__(self, split: Split, batch_size: int, on_progress: Callable[[], None]) -> None:
        version()
        self._split = split
        self._batch_size = batch_size
        self._on_progress = on_progress

    def run(self, call: Callable[[Arrays], object], request: Request, folder: Path) -> Outcome:
        """Run one test and return what LoadGen says of it; its logs are left in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        system = _System(call, self._split, self._batch_size)
        issue = system.enqueue if request.scenario == "server" else system.answer
        began = time.perf_counter()
        threading.Thread(target=self._test, args=(system, issue, request, folder), daemon=True).start()
        answered = 0
        while not system.ended.wait(BEAT_S):
            if system.answered != answered:
                answered = system.answered
                self._on_progress()
        if system.failure is not None:
            raise system.failure
        seconds = time.perf_counter() - began
        _remove_empty(folder)
        return read_outcome(_read_log(folder), request, seconds)

    def _test(self, system: _System, issue: Callable[[Sequence[Any]], None], request: Request, folder: Path) -> None:
        import mlperf_loadgen

        try:
            total = len(self._split)
            sut = mlperf_loadgen.ConstructSUT(issue, lambda: None)
            qsl = mlperf_loadgen.ConstructQSL(total, total, system.load, lambda _: None)
            mlperf_loadgen.StartTestWithLogSettings(sut, qsl, _settings(request), _log_settings(folder), "")
            mlperf_loadgen.DestroyQSL(qsl)
            mlperf_loadgen.DestroySUT(sut)
            system.close()
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            system.fail(error)
        finally:
            system.ended.set()


class _System:
    """The system under test: answers queries with batches of at most ``batch_size`` examples."""

    def __init__(self, call: Callable[[Arrays], object], split: Split, batch_size: int) -> None:
        from mlperf_loadgen import QuerySampleResponse, QuerySamplesComplete

        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self.answered = 0
        self._response = QuerySampleResponse
        self._complete = QuerySamplesComplete
        self._call = call
        self._split = split
        self._batch_size = batch_size
        self._examples: dict[int, Arrays] = {}
        self._queue: queue.SimpleQueue[Sequence[Any] | None] = queue.SimpleQueue()
        self._server: threading.Thread | None = None

    def load(self, indices: Sequence[int]) -> None:
        """Have examples ready in memory."""
        if self._batch_size == 1:
            self._examples = {i: self._split.batch(1, i) for i in indices}

    def enqueue(self, samples: Sequence[Any]) -> None:
        """Take a query and return at once; one thread answers in order."""
        if self._server is None:
            self._server = threading.Thread(target=self._serve, daemon=True)
            self._server.start()
        self._queue.put(samples)

    def _serve(self) -> None:
        while (samples := self._queue.get()) is not None:
            self.answer(samples)

    def answer(self, samples: Sequence[Any]) -> None:
        """Run the examples and tell LoadGen, batch by batch. Whatever is raised ends the test."""
        if self.failure is not None:
            return
        response, size = self._response, self._batch_size
        try:
            for start in range(0, len(samples), size):
                some = samples[start : start + size]
                self._call(self._batch(some))
                self._complete([response(sample.id, 0, 0) for sample in some])
                self.answered += 1
        except BaseException as error:  # noqa: BLE001 (it would die in a C++ callback; raised again by ``run``)
            self.fail(error)

    def _batch(self, samples: Sequence[Any]) -> Arrays:
        if self._batch_size == 1:
            return self._examples[samples[0].index]
        indices = [sample.index for sample in samples]
        indices += indices[:1] * (self._batch_size - len(indices))  # some artifacts take full batches only
        return tuple(array[indices] for array in self._split.inputs)

    def fail(self, error: BaseException) -> None:
        """End the test with an error."""
        self.failure = error
        self.ended.set()

    def close(self) -> None:
        """End the answering thread."""
        self._queue.put(None)


def _settings(request: Request) -> Any:
    """Return LoadGen's settings; seeds are its defaults, so that all trials see the same order and schedule."""
    import mlperf_loadgen

    settings = mlperf_loadgen.TestSettings()
    settings.scenario = getattr(mlperf_loadgen.TestScenario, SCENARIOS[request.scenario])
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1e3 * request.min_duration_s)
    settings.min_query_count = request.min_queries
    match request.scenario:
        case "single-stream":
            settings.single_stream_expected_latency_ns = max(round(NS * request.expected), 1)
            settings.single_stream_target_latency_percentile = request.percentile
        case "multi-stream":
            settings.multi_stream_expected_latency_ns = max(round(NS * request.expected), 1)
            settings.multi_stream_target_latency_percentile = request.percentile
            settings.multi_stream_samples_per_query = request.samples_per_query
        case "server":
            assert request.bound_s is not None
            settings.server_target_qps = request.expected
            settings.server_target_latency_ns = round(NS * request.bound_s)
            settings.server_target_latency_percentile = request.percentile
        case "offline":
            settings.offline_expected_qps = request.expected
    return settings


def _log_settings(folder: Path) -> Any:
    import mlperf_loadgen

    log = mlperf_loadgen.LogSettings()
    log.enable_trace = False
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    return log


def _remove_empty(folder: Path) -> None:
    """Remove the logs of what was not asked for."""
    for name in ("accuracy.json", "trace.json"):
        (folder / f"{PREFIX}{name}").unlink(missing_ok=True)


def _read_log(folder: Path) -> dict[str, Any]:
    """Return the entries of LoadGen's detail log by key, the last of each; raises HarnessError without a result."""
    path = folder / f"{PREFIX}detail.txt"
    found: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        marker, _, text = line.partition(" ")
        if marker == ":::MLLOG":
            entry = json.loads(text)
            found[entry["key"]] = entry["value"]
    if "result_validity" not in found:
        raise HarnessError(f"LoadGen left no result in {path}")
    return found


def read_outcome(log: Mapping[str, Any], request: Request, duration_s: float) -> Outcome:
    """Return what the entries of a detail log say."""
    kind = "_per_query" if request.scenario == "multi-stream" else ""
    latency_s = log[f"result_{100 * request.percentile:.2f}_percentile{kind}_latency_ns"] / NS
    # LoadGen calls the estimate of the scenario's own percentile _ms (multi-stream) or _ss (single-stream).
    early = log.get(
        {"single-stream": "early_stopping_latency_ss", "multi-stream": "early_stopping_latency_ms"}.get(
            request.scenario, ""
        )
    )
    valid = log["result_validity"] == "VALID"
    return Outcome(
        valid=valid,
        reason="" if valid else _reason(log, request, latency_s),
        long_enough=bool(log["result_min_duration_met"]),
        latency_s=latency_s,
        rate_per_s=float(log.get("result_samples_per_second", 0.0)),
        early_stopping_s=early / NS if early else None,
        queries=int(log["result_query_count"]),
        samples_per_query=int(log["generated_samples_per_query"]),
        duration_s=duration_s,
    )


def _reason(log: Mapping[str, Any], request: Request, latency_s: float) -> str:
    unmet = []
    slow = log.get("result_perf_constraints_met") is False
    if slow:
        unmet.append(f"p{100 * request.percentile:g} is {latency_s:.3g} s, the bound {request.bound_s:g} s")
    if not log["result_min_duration_met"]:
        unmet.append(f"shorter than {request.min_duration_s:g} s")
    if not log["result_min_queries_met"]:
        unmet.append(f"fewer than {request.min_queries} queries")
    if log.get("early_stopping_met") is False and not slow:  # what is too slow is not cured by more queries
        text = " ".join(str(log.get("early_stopping_result", "")).replace("*", "").split())
        unmet.append(f"too few queries to be sure of the percentile ({text.rstrip('.')})")
    return "; ".join(unmet) or str(log.get("result_invalid_reason", "")).strip() or "LoadGen gives no reason"
