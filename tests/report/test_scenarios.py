"""What LoadGen said, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.show import print_run
from harness.report.page import render
from harness.report.rows import report_df
from harness.report.scenarios import Scenarios, scenarios
from harness.schema import LoadTest, Record, Scenario, Unmeasured
from harness.store import Run, RunWriter, read_run
from tests.run_folder import BASELINE, INT8, Folder, Row

STREAM = Scenario(
    name="single-stream",
    valid=True,
    reason="",
    metric="latency_s",
    value=0.000475,
    floor=4.5e-6,
    percentile=0.9,
    latency_s=0.000475,
    early_stopping_s=0.000496,
    queries=7789,
    samples_per_query=1,
    duration_s=3.01,
    min_duration_s=3.0,
    min_queries=64,
    bound_s=None,
    official=False,
    log="loadgen/e/torch",
    loadgen="6.0.17",
)
SERVER = replace(
    STREAM,
    name="server",
    metric="rate_per_s",
    value=1387.0,
    floor=40_000.0,
    percentile=0.99,
    latency_s=0.019,
    early_stopping_s=Unmeasured("none"),
    bound_s=0.02,
    tests=(LoadTest(1387.0, True, 0.019, 4104, 3.0),),
    resolution=0.05,
)
TOO_SLOW = replace(SERVER, valid=False, reason="p99 is 0.177 s, the bound 0.02 s")
OFFLINE = replace(
    STREAM, name="offline", metric="samples_per_s", value=9812.0, floor=Unmeasured("it stalled"), percentile=None,
    latency_s=None, early_stopping_s=Unmeasured("none"), queries=1, samples_per_query=42_900,
)  # fmt: skip


def stored(folder: Path, baseline: Scenario | Unmeasured, other: Scenario | Unmeasured) -> Run:
    """Return a run of two trials with these scenarios."""
    run = read_run(Folder([Row(BASELINE, 2.0), Row(INT8, 0.5)]).write(folder / "run-1"))
    records: list[Record] = [replace(r, scenario=s) for r, s in zip(run.records, (baseline, other), strict=True)]
    (run.directory / "records.jsonl").unlink()
    writer = RunWriter.reopen(run, "2026-01-01T00:00:00Z")
    for record in records:
        writer.append(record)
    return read_run(run.directory)


def shown(folder: Path, baseline: Scenario | Unmeasured, other: Scenario | Unmeasured) -> Scenarios:
    found = scenarios(report_df(stored(folder, baseline, other)))
    assert found is not None
    return found


def test_without_a_load_test_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = read_run(Folder([Row(BASELINE, 2.0), Row(INT8, 0.5)]).write(tmp_path / "run-1"))
    assert scenarios(report_df(run)) is None
    page = render(run)
    assert "Under load" not in page
    assert "no load test" not in page
    print_run(run.directory)
    assert "LoadGen" not in capsys.readouterr().out


def test_a_stream_shows_its_percentile_the_safe_estimate_and_the_floor(tmp_path: Path) -> None:
    found = shown(tmp_path, STREAM, Unmeasured("mlcommons-loadgen not installed"))
    assert found.metric == "p90 of a query"
    first, second = found.rows
    assert (first.value, first.early, first.floor, first.queries) == ("475 µs", "496 µs", "4.50 µs", "7,789")
    assert (first.verdict, first.reason) == ("VALID", "")
    assert (second.value, second.verdict, second.reason) == ("–", "", "mlcommons-loadgen not installed")
    assert "no verdict is drawn" in found.note
    assert "3 s a test where MLPerf takes 600 s" in found.note


def test_a_server_shows_its_rate_the_bound_and_why_it_is_invalid(tmp_path: Path) -> None:
    found = shown(tmp_path, SERVER, TOO_SLOW)
    assert found.metric == "queries/s with p99 ≤ 20.0 ms"
    assert not found.early
    assert [row.verdict for row in found.rows] == ["VALID", "INVALID"]
    assert found.rows[1].reason == "p99 is 0.177 s, the bound 0.02 s"
    assert "searched to 5 % with short tests: an estimate" in found.note


def test_offline_shows_examples_and_a_missing_floor_has_its_reason(tmp_path: Path) -> None:
    [row, _] = shown(tmp_path, OFFLINE, OFFLINE).rows
    assert (row.value, row.floor, row.queries, row.reason) == ("9,812", "–", "1 × 42,900", "floor: it stalled")


def test_the_page_and_the_table_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stored(tmp_path, SERVER, TOO_SLOW)
    page = render(run)
    assert page.count("Under load") == 1
    assert "INVALID" in page
    assert "p99 is 0.177" in page
    print_run(run.directory)
    out = capsys.readouterr().out
    assert "under load" in out
    assert "INVALID" in out


def test_official_terms_are_named(tmp_path: Path) -> None:
    official = replace(STREAM, official=True, min_duration_s=600.0)
    assert "MLPerf's own length" in shown(tmp_path, official, official).note
