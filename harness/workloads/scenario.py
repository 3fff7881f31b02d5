"""A trial under one of MLPerf's scenarios: expectations calibrated, the test, the search for a rate, the floor."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays
from harness.errors import UnsupportedError
from harness.schema import LoadTest, Scenario, Trial, Unmeasured
from harness.workloads.loadgen import PREFIX, LoadGen, Outcome, Request, version
from harness.workloads.search import highest_rate
from harness.zoo import Split

Call = Callable[[Arrays], object]

SHORT_S = 3.0
SEARCH_S = (0.5, 10.0)  # a test of the search takes a third of the full length, within these
BOUNDS = 20  # a server's test takes so many bounds at least: a queue that grows by 5 % has grown to the bound
FLOOR_S = 0.5
CALIBRATION_S = 0.2
CONFIDENCE = 0.99  # LoadGen's, for early stopping
RESOLUTION = 0.05
STEP = 1.4
START = 0.7  # of the rate that would keep the system always busy
SECOND_CHANCE = 2  # tests of a rate that must fail: a stall of the host is not the system's
CONFIRMATIONS = (1.0, 1.05, 1.1, 1.2, 1.4)  # each divides the rate before, until one is confirmed
CALIBRATIONS = 3
# LoadGen makes its queries before the test: 10 % more than expected for offline, twice as many for the streams.
EXPECT_FASTER = {"offline": 1.3, "single-stream": 0.5, "multi-stream": 0.5}
# No system in Python is faster, and LoadGen makes all its queries in memory before it starts.
LEAST_LATENCY_S = 4e-6
MOST_SAMPLES_PER_S = 1e6
NULL_RATE_PER_S = 10_000.0


@dataclass(frozen=True)
class Terms:
    """How long a test is and what it judges."""

    min_duration_s: float
    min_queries: int
    percentile: float


# https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc, section Scenarios, and LoadGen's
# mlperf.conf, which has 662 for multi-stream; where it says nothing LoadGen's own least count of 100 stands.
OFFICIAL_S = 600.0
OFFICIAL: Mapping[str, Terms] = {
    "single-stream": Terms(OFFICIAL_S, 100, 0.90),
    "multi-stream": Terms(OFFICIAL_S, 662, 0.99),
    "server": Terms(OFFICIAL_S, 100, 0.99),
    "offline": Terms(OFFICIAL_S, 24_576, 0.90),
}
SHORT_PERCENTILE = {"multi-stream": 0.90}  # its 0.99 takes 662 queries


def terms_of(workload: str, load: Mapping[str, Any]) -> Terms:
    """Return the terms of a suite's ``load`` block (the dump of ``harness.suite.Load``)."""
    official = OFFICIAL[workload]
    if load["official"]:
        return official
    percentile = load["percentile"] or SHORT_PERCENTILE.get(workload, official.percentile)
    queries = 1 if workload == "offline" else fewest_queries(percentile)
    return Terms(load["min_duration_s"] or SHORT_S, queries, percentile)


def fewest_queries(percentile: float) -> int:
    """Return the fewest queries from which LoadGen estimates a percentile: 64 for p90, 662 for p99.

    So many that at most one of them lies above the percentile with a chance of 1 %: early stopping, see
    https://github.com/mlcommons/inference/blob/master/loadgen/early_stopping.cc.
    """
    n = 1
    while percentile**n + n * (1.0 - percentile) * percentile ** (n - 1) > 1.0 - CONFIDENCE:
        n += 1
    return n


class ScenarioRun:
    """Runs a trial's scenario.

    Args:
        load: dump of ``harness.suite.Load``.
        root, log: the run's folder, and the place of the logs below it.
        on_test: told about once a second what is under way.
    """

    def __init__(
        self, trial: Trial, load: Mapping[str, Any], split: Split, root: Path, log: str, on_test: Callable[[str], None]
    ) -> None:
        self._name = trial.workload
        self._trial = trial
        self._load = load
        self._split = split
        self._folder = root / log
        self._log = log
        self._on_test = on_test
        self._doing = ""
        self._terms = terms_of(trial.workload, load)
        self._loadgen = LoadGen(split, trial.batch_size, lambda: on_test(self._doing))

    def run(self, call: Call) -> Scenario:
        """Test ``call``; raises what it raises, and UnsupportedError when the scenario makes no sense for it."""
        call_s = self._calibrate(call)
        if self._name == "server":
            return self._server(call, call_s)
        outcome = self._test(call, call_s, self._terms, self._folder, "test")
        value = outcome.rate_per_s if self._name == "offline" else outcome.latency_s
        return replace(self._scenario(outcome, value), floor=self._floor())

    # -- one test --------------------------------------------------------------------------------------------

    def _calibrate(self, call: Call) -> float:
        """Return the median seconds of a call, made as the test makes it, after a warm-up of the same length."""
        size, count = self._trial.batch_size, max(1, len(self._split) // self._trial.batch_size)
        samples: list[float] = []
        for _ in range(2):
            samples.clear()
            end = time.perf_counter() + CALIBRATION_S
            while not samples or time.perf_counter() < end:
                batch = self._split.batch(size, (len(samples) % count) * size)
                began = time.perf_counter()
                call(batch)
                samples.append(time.perf_counter() - began)
        return statistics.median(samples)

    def _test(self, call: Call, call_s: float, terms: Terms, folder: Path, doing: str) -> Outcome:
        """Test a stream or offline; once more with a better expectation where the first one ended too early."""
        expected = max(EXPECT_FASTER[self._name] * call_s, LEAST_LATENCY_S)
        if self._name == "offline":
            expected = min(EXPECT_FASTER[self._name] * self._trial.batch_size / call_s, MOST_SAMPLES_PER_S)
        for _ in range(CALIBRATIONS):
            outcome = self._once(call, self._request(terms, expected), folder, doing)
            if outcome.long_enough:
                break
            faster = EXPECT_FASTER[self._name]
            expected = faster * outcome.rate_per_s if self._name == "offline" else expected * faster
        return outcome

    def _request(self, terms: Terms, expected: float) -> Request:
        samples = self._trial.batch_size if self._name == "multi-stream" else 1
        bound = self._load["latency_bound_s"]
        return Request(self._name, terms.min_duration_s, terms.min_queries, terms.percentile, expected, samples, bound)

    def _once(self, call: Call, request: Request, folder: Path, doing: str) -> Outcome:
        self._doing = doing
        self._on_test(doing)
        return self._loadgen.run(call, request, folder)

    # -- the server's rate -----------------------------------------------------------------------------------

    def _server(self, call: Call, call_s: float) -> Scenario:
        bound_s = float(self._load["latency_bound_s"])
        if call_s >= bound_s:
            raise UnsupportedError(
                f"a call alone takes {call_s:.3g} s, so no rate holds the bound of {bound_s:g} s; raise latency_bound_s"
            )
        percentile, full_s = self._terms.percentile, max(self._terms.min_duration_s, BOUNDS * bound_s)
        least, most = SEARCH_S
        search_s = max(min(max(full_s / 3, least), most, full_s), BOUNDS * bound_s)
        search = Terms(search_s, fewest_queries(percentile), percentile)
        full = replace(self._terms, min_duration_s=full_s)
        tests: list[LoadTest] = []
        lowest = math.inf

        def holds(rate: float) -> bool:
            nonlocal lowest
            lowest = min(lowest, rate)
            for _ in range(SECOND_CHANCE):
                folder = self._folder / "search" / f"{len(tests):02d}"
                outcome = self._at(call, rate, search, folder, tests)
                (folder / f"{PREFIX}detail.txt").unlink()  # its summary is kept
                if outcome.valid:
                    return True
            return False

        found = highest_rate(holds, START / call_s, step=STEP, resolution=RESOLUTION)
        rate = lowest if found is None else found
        for lower in CONFIRMATIONS:
            rate /= lower
            outcome = self._at(call, rate, full, self._folder, tests)
            if not outcome.valid and found is not None:
                outcome = self._at(call, rate, full, self._folder, tests)
            if outcome.valid or found is None:
                break
        scenario = self._scenario(outcome, rate)
        return replace(
            scenario,
            floor=self._server_floor(),
            tests=tuple(tests),
            resolution=RESOLUTION,
            bound_s=bound_s,
            min_duration_s=full_s,
        )

    def _at(self, call: Call, rate: float, terms: Terms, folder: Path, tests: list[LoadTest]) -> Outcome:
        """Test one rate and add it to ``tests``."""
        doing = f"at {rate:.4g} queries/s for {terms.min_duration_s:g} s"
        outcome = self._once(call, self._request(terms, rate), folder, doing)
        tests.append(LoadTest(rate, outcome.valid, outcome.latency_s, outcome.queries, outcome.duration_s))
        return outcome

    # -- what LoadGen and Python cost ------------------------------------------------------------------------

    def _floor(self) -> float | Unmeasured:
        terms = replace(self._terms, min_duration_s=min(FLOOR_S, self._terms.min_duration_s))
        if self._name == "offline":
            terms = replace(terms, min_queries=1)
        outcome = self._test(_nothing, self._calibrate(_nothing), terms, self._folder / "floor", "floor")
        if not outcome.valid:
            return Unmeasured(f"the null system's test is INVALID: {outcome.reason}")
        return outcome.rate_per_s if self._name == "offline" else outcome.latency_s

    def _server_floor(self) -> float | Unmeasured:
        """Return the highest rate the null system holds, to a factor of two."""
        terms = replace(self._terms, min_duration_s=min(FLOOR_S, self._terms.min_duration_s))

        def holds(rate: float) -> bool:
            request = self._request(terms, rate)
            return self._once(_nothing, request, self._folder / "floor", f"floor at {rate:.4g} queries/s").valid

        rate = highest_rate(holds, NULL_RATE_PER_S, step=2.0, resolution=1.0)
        return Unmeasured("the null system holds the bound at no rate that was tried") if rate is None else rate

    def _scenario(self, outcome: Outcome, value: float) -> Scenario:
        metric = {"server": "rate_per_s", "offline": "samples_per_s"}.get(self._name, "latency_s")
        early = outcome.early_stopping_s
        judged = self._name != "offline"
        reason = "LoadGen's estimate is of a latency, which is not this scenario's metric"
        return Scenario(
            name=self._name,  # type: ignore[arg-type]
            valid=outcome.valid,
            reason=outcome.reason,
            metric=metric,  # type: ignore[arg-type]
            value=value,
            floor=Unmeasured("not reached"),
            percentile=self._terms.percentile if judged else None,
            latency_s=outcome.latency_s if judged else None,
            early_stopping_s=Unmeasured(reason) if early is None else early,
            queries=outcome.queries,
            samples_per_query=outcome.samples_per_query,
            duration_s=outcome.duration_s,
            min_duration_s=self._terms.min_duration_s,
            min_queries=self._terms.min_queries,
            bound_s=None,
            official=bool(self._load["official"]),
            log=self._log,
            loadgen=version(),
        )


def _nothing(batch: Arrays) -> object:
    """Answer at once."""
    return batch
