"""MLPerf's scenarios with the real LoadGen around a session of known cost. No assertion on an absolute time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Arrays
from harness.errors import UnsupportedError
from harness.schema import Scenario, Trial, Unmeasured
from harness.suite import Load
from harness.workloads.scenario import OFFICIAL, ScenarioRun, fewest_queries, terms_of
from harness.zoo import Split

pytest.importorskip("mlperf_loadgen")

from harness.workloads.loadgen import LoadGen, Request, read_outcome, version

EXAMPLES = np.arange(40, dtype=np.float32).reshape(20, 2)
SPLIT = Split((EXAMPLES,))


class Spin:
    """Keeps the core busy for ``seconds`` and remembers the shapes and rows it was given."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.shapes: set[tuple[int, ...]] = set()
        self.rows: set[tuple[float, ...]] = set()

    def __call__(self, batch: Arrays) -> Arrays:
        end = time.perf_counter() + self.seconds
        self.shapes.add(batch[0].shape)
        self.rows |= {tuple(row) for row in batch[0].tolist()}
        while time.perf_counter() < end:
            pass
        return batch


def load(**known: Any) -> dict[str, Any]:
    return Load(**{"min_duration_s": 0.3, **known}).model_dump(mode="json")


def run(folder: Path, workload: str, call: Any, batch_size: int = 1, **known: Any) -> Scenario:
    trial = Trial("a", "e", "m", "fake", workload=workload, batch_size=batch_size)
    return ScenarioRun(trial, load(**known), SPLIT, folder, "loadgen/e/a", lambda _: None).run(call)


def logged(folder: Path) -> bool:
    return all((folder / f"mlperf_log_{name}.txt").stat().st_size for name in ("summary", "detail"))


@pytest.mark.parametrize(("workload", "batch_size"), [("single-stream", 1), ("multi-stream", 4)])
def test_a_stream_is_valid_and_its_percentile_is_that_of_the_call(
    tmp_path: Path, workload: str, batch_size: int
) -> None:
    call = Spin(0.002)
    found = run(tmp_path, workload, call, batch_size)
    assert (found.name, found.valid, found.reason) == (workload, True, "")
    assert (found.metric, found.percentile, found.official) == ("latency_s", 0.9, False)
    assert found.value == found.latency_s >= call.seconds
    assert isinstance(found.early_stopping_s, float)
    assert found.early_stopping_s >= call.seconds
    assert found.queries >= found.min_queries == 64
    assert found.samples_per_query == batch_size
    assert isinstance(found.floor, float)
    assert 0.0 < found.floor < found.value
    assert call.shapes == {(batch_size, 2)}
    assert call.rows <= {tuple(row) for row in EXAMPLES.tolist()}
    assert logged(tmp_path / found.log)
    assert logged(tmp_path / found.log / "floor")
    assert found.loadgen == version()


def test_offline_answers_everything_in_full_batches(tmp_path: Path) -> None:
    call = Spin(0.002)
    found = run(tmp_path, "offline", call, batch_size=8)
    assert found.valid, found.reason
    assert (found.metric, found.percentile, found.latency_s, found.queries) == ("samples_per_s", None, None, 1)
    assert isinstance(found.early_stopping_s, Unmeasured)
    assert found.samples_per_query > 8
    assert found.value <= 8 / call.seconds * 1.05
    assert isinstance(found.floor, float)
    assert found.floor > found.value
    assert call.shapes == {(8, 2)}  # the last batch is filled up
    assert logged(tmp_path / found.log)


def test_the_server_finds_a_rate_below_what_the_call_allows_and_keeps_every_test(tmp_path: Path) -> None:
    call = Spin(0.001)
    found = run(tmp_path, "server", call, latency_bound_s=0.05, percentile=0.9)
    assert found.valid, found.reason
    assert (found.metric, found.percentile, found.bound_s) == ("rate_per_s", 0.9, 0.05)
    assert 0 < found.value <= 1 / call.seconds * 1.3
    assert found.min_duration_s == 20 * 0.05  # long enough for a queue to grow
    assert found.latency_s is not None
    assert found.latency_s <= 0.05
    assert found.tests[-1].rate_per_s == found.value
    assert found.tests[-1].valid
    assert any(not test.valid for test in found.tests)
    assert found.resolution == 0.05
    assert call.shapes == {(1, 2)}
    assert logged(tmp_path / found.log)
    searched = sorted((tmp_path / found.log / "search").iterdir())
    assert searched
    assert all((folder / "mlperf_log_summary.txt").is_file() for folder in searched)


def test_a_server_whose_call_is_over_the_bound_is_refused_without_a_search(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no rate holds the bound of 0\.001 s; raise latency_bound_s"):
        run(tmp_path, "server", Spin(0.002), latency_bound_s=0.001)


def test_too_slow_a_server_is_invalid_with_the_reason(tmp_path: Path) -> None:
    request = Request("server", 0.2, 1, 0.9, 4000.0, bound_s=0.002)
    outcome = LoadGen(SPLIT, 1, lambda: None).run(Spin(0.001), request, tmp_path)
    assert not outcome.valid
    assert "the bound 0.002 s" in outcome.reason


def test_a_test_that_ends_too_early_is_invalid_with_the_reason(tmp_path: Path) -> None:
    # Queries are made before the test: an expectation of a second a query makes far too few.
    request = Request("single-stream", 0.3, 1, 0.9, 1.0)
    outcome = LoadGen(SPLIT, 1, lambda: None).run(Spin(0.0001), request, tmp_path)
    assert not outcome.valid
    assert not outcome.long_enough
    assert "shorter than 0.3 s" in outcome.reason
    assert "too few queries to be sure of the percentile" in outcome.reason


def test_progress_is_told_while_there_is_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.workloads.loadgen.BEAT_S", 0.01)
    beats: list[int] = []
    LoadGen(SPLIT, 1, lambda: beats.append(1)).run(Spin(0.001), Request("single-stream", 0.3, 1, 0.9, 0.0005), tmp_path)
    assert beats


@pytest.mark.parametrize("workload", ["single-stream", "multi-stream", "server", "offline"])
def test_what_a_call_raises_under_load_is_raised_by_the_run(tmp_path: Path, workload: str) -> None:
    # In a process of its own: LoadGen waits for ever for the answer.
    script = f"""
import os
from pathlib import Path
from harness.workloads.loadgen import LoadGen, Request
from tests.workloads.test_scenario import SPLIT
calls = 0
def call(batch):
    global calls
    calls += 1
    if calls > 5:
        raise RuntimeError("the model raises under load")
request = Request({workload!r}, 0.5, 1, 0.9, {0.001 if "stream" in workload else 500.0}, 1, 0.1)
try:
    LoadGen(SPLIT, 1, lambda: None).run(call, request, Path({str(tmp_path)!r}))
except RuntimeError as error:
    print(f"raised: {{error}}", flush=True)
os._exit(0)
"""
    reply = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert reply.stdout == "raised: the model raises under load\n"


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.workloads.loadgen.DISTRIBUTION", "no-such-loadgen")
    with pytest.raises(UnsupportedError, match=r"pip install 'optimization-harness\[load\]'"):
        LoadGen(SPLIT, 1, lambda: None)


def test_the_fewest_queries_are_those_of_loadgens_early_stopping() -> None:
    assert fewest_queries(0.90) == 64
    assert fewest_queries(0.99) == 662


def test_short_terms_are_scaled_down_and_official_ones_are_mlperfs() -> None:
    short = terms_of("multi-stream", Load().model_dump())
    assert (short.min_duration_s, short.min_queries, short.percentile) == (3.0, 64, 0.9)
    assert terms_of("server", Load(latency_bound_s=1).model_dump()).percentile == 0.99
    for workload, terms in OFFICIAL.items():
        assert terms_of(workload, Load(official=True).model_dump()) == terms
        assert terms.min_duration_s == 600.0


def test_a_log_is_read_to_the_nanosecond() -> None:
    log = {
        "result_validity": "VALID",
        "result_min_duration_met": True,
        "result_min_queries_met": True,
        "result_query_count": 7,
        "generated_samples_per_query": 8,
        "result_99.00_percentile_per_query_latency_ns": 12_345,
        "early_stopping_latency_ms": 23_456,
    }
    outcome = read_outcome(json.loads(json.dumps(log)), Request("multi-stream", 1.0, 1, 0.99, 1.0, 8), 1.5)
    assert (outcome.valid, outcome.reason, outcome.queries) == (True, "", 7)
    assert outcome.latency_s == pytest.approx(12_345e-9)
    assert outcome.early_stopping_s == pytest.approx(23_456e-9)
