"""Records → tidy pandas DataFrames: one row a trial, one table of columns, SI units in the names.

A value that was not measured is missing in its column, and its reason stands in the ``missing`` column: a
mapping from column name to reason.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness import units
from harness.errors import StoreError
from harness.execution import execution_columns
from harness.kept import value_of
from harness.peaks import Peaks, peaks_of
from harness.predictions import predictions_of
from harness.roofline import roofline_columns
from harness.samples import SampleReader
from harness.schema import (
    Artifact,
    Disturbance,
    FidelityCheck,
    GpuUse,
    Memory,
    Quality,
    Record,
    Scenario,
    Timing,
    Unmeasured,
    Utilization,
)
from harness.stats.estimate import Estimate, NotEnough, percentile, throughput
from harness.stats.quality import Mean
from harness.store import RUN_FILE, Run

NO_LATENCY = "the offline scenario judges no latency"
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

# What quality means where the data has no targets, by the kind of data.
AGREEMENT_NOTES = {
    "synthetic": "with the unoptimized model on synthetic inputs: whether the function is still the same, not whether "
    "it is right",
    "unlabeled": "with the unoptimized model on your inputs: whether the function is still the same, not whether it is "
    "right",
}

NO_GPU = "the trial uses no GPU"
# Clearly more than chance: without a leak the median growth of a call is 0 to a page here or there.
LEAK_BYTES = 4096
# A trial with several threads that uses less than this share of them gets a note.
FAR_BELOW = 0.6


@dataclass(frozen=True)
class Column:
    """One column: its name and how to read it from a record; an Unmeasured becomes a missing value."""

    name: str
    read: Callable[[Record], Any]


def _of(field: str, read: Callable[[Any], Any]) -> Callable[[Record], Any]:
    """Read from a part of the record, or pass its Unmeasured on."""

    def reader(record: Record) -> Any:
        part = getattr(record, field)
        return part if isinstance(part, Unmeasured) else read(part)

    return reader


def _artifact(read: Callable[[Artifact], Any]) -> Callable[[Record], Any]:
    return _of("artifact", read)


def _memory(read: Callable[[Memory], Any]) -> Callable[[Record], Any]:
    return _of("memory", read)


def _timing(read: Callable[[Timing], Any]) -> Callable[[Record], Any]:
    return _of("timing", read)


def _disturbance(read: Callable[[Disturbance], Any]) -> Callable[[Record], Any]:
    return _timing(lambda t: t.disturbance if isinstance(t.disturbance, Unmeasured) else read(t.disturbance))


def _quality(read: Callable[[Quality], Any]) -> Callable[[Record], Any]:
    return _of("quality", read)


def _fidelity(read: Callable[[FidelityCheck], Any]) -> Callable[[Record], Any]:
    return _of("fidelity", read)


def _scenario(read: Callable[[Scenario], Any]) -> Callable[[Record], Any]:
    return _of("scenario", read)


def _or(value: Any, reason: str) -> Any:
    return Unmeasured(reason) if value is None else value


def _gpu(read: Callable[[GpuUse], Any]) -> Callable[[Record], Any]:
    """Read from the GPU's part of the utilization."""

    def reader(use: Utilization) -> Any:
        if use.gpu is None:
            return Unmeasured(NO_GPU)
        return use.gpu if isinstance(use.gpu, Unmeasured) else read(use.gpu)

    return _of("utilization", reader)


def _leak_note(record: Record) -> str | None:
    growth = record.memory.growth_bytes_per_call if isinstance(record.memory, Memory) else None
    if growth is None or isinstance(growth, Unmeasured) or growth < LEAK_BYTES:
        return None
    return f"grows by {units.size(growth)} with each call: a leak, or a cache that fills"


def _utilization_note(record: Record) -> str | None:
    use, threads = record.utilization, record.trial.threads
    if isinstance(use, Unmeasured) or threads < 2 or use.cores_used >= FAR_BELOW * threads:
        return None
    note = f"asked for {threads} threads, used {use.cores_used:.2f} cores"
    if isinstance(use.cores_waited, float) and use.cores_used + use.cores_waited >= FAR_BELOW * threads:
        return f"{note} and waited for {use.cores_waited:.2f} that others had"
    return note


def _options(record: Record) -> str:
    return json.dumps(record.trial.options, sort_keys=True) if record.trial.options else ""


COLUMNS: tuple[Column, ...] = (
    Column("run", lambda r: r.run),
    Column("host", lambda r: r.host),
    Column("experiment", lambda r: r.trial.experiment),
    Column("trial", lambda r: r.trial.name),
    Column("role", lambda r: r.trial.role),
    Column("model", lambda r: r.trial.model),
    Column("backend", lambda r: r.trial.backend),
    Column("passes", lambda r: " + ".join(map(str, r.trial.passes))),
    Column("options", _options),
    Column("workload", lambda r: r.trial.workload),
    Column("batch_size", lambda r: r.trial.batch_size),
    Column("device", lambda r: r.trial.device),
    Column("threads", lambda r: r.trial.threads),
    Column("threads_actual", lambda r: r.actual.get("threads", Unmeasured("the runtime does not say"))),
    Column("precision_actual", lambda r: r.actual.get("precision", Unmeasured("the runtime does not say"))),
    Column("status", lambda r: str(r.status)),
    Column("stage", lambda r: r.stage),
    Column("reason", lambda r: r.reason),
    Column("log", lambda r: r.log),
    Column("finished_at", lambda r: r.finished_at),
    Column("artifact_key", _artifact(lambda a: a.key)),
    Column("artifact_format", _artifact(lambda a: a.format)),
    Column("artifact_bytes", _artifact(lambda a: a.size_bytes)),
    Column("parameters", _artifact(lambda a: a.parameters)),
    Column("build_s", _artifact(lambda a: a.build_s)),
    Column("build_steps", _artifact(lambda a: [dataclasses.asdict(s) for s in a.steps])),
    Column("build_cached", _artifact(lambda a: a.cached)),
    Column("fidelity", _fidelity(lambda f: str(f.kind))),
    Column("fidelity_error", _fidelity(lambda f: f.relative_error)),
    Column("quality_metric", _quality(lambda q: q.metric)),
    Column("quality_data", _quality(lambda q: q.data)),
    Column("quality_cached", _quality(lambda q: q.cached)),
    Column("memory_floor_bytes", _memory(lambda m: m.floor_bytes)),
    Column("load_peak_rss_bytes", _memory(lambda m: m.load_peak_bytes)),
    Column("inference_peak_rss_bytes", _memory(lambda m: m.inference_peak_bytes)),
    Column("inference_over_floor_bytes", _memory(lambda m: m.inference_peak_bytes - m.floor_bytes)),
    Column("pss_bytes", _memory(lambda m: m.pss_bytes)),
    Column("uss_bytes", _memory(lambda m: m.uss_bytes)),
    Column("anonymous_bytes", _memory(lambda m: m.anonymous_bytes)),
    Column("growth_bytes_per_call", _memory(lambda m: m.growth_bytes_per_call)),
    Column("leak_note", _leak_note),
    Column("startup_s", lambda r: r.startup_s),
    Column("load_s", _timing(lambda t: statistics.median(t.load_s))),
    Column("first_call_s", _timing(lambda t: statistics.median(t.first_call_s))),
    Column("replicates", _timing(lambda t: t.replicates)),
    Column("rounds", _timing(lambda t: t.rounds)),
    Column("dirty_rounds", _timing(lambda t: t.dirty_rounds)),
    Column("other_cpu_share", _disturbance(lambda d: d.other_cpu_share)),
    Column("steal_share", _disturbance(lambda d: d.steal_share)),
    Column("crowding", _disturbance(lambda d: d.crowding)),
    Column("waiting_share", _disturbance(lambda d: d.waiting_share)),
    Column("frequency_hz", _disturbance(lambda d: d.frequency_hz)),
    Column("calls_per_block", _timing(lambda t: t.calls_per_block)),
    Column("group", _timing(lambda t: t.group)),
    Column("stopped_by", _timing(lambda t: t.stopped_by)),
    Column("energy_j", _of("energy", lambda e: e.joules_per_example)),  # of one example
    Column("energy_source", _of("energy", lambda e: e.source)),
    Column("energy_scope", _of("energy", lambda e: e.scope)),
    Column("utilization", _of("utilization", lambda u: u.cores_used)),
    Column("utilization_waited", _of("utilization", lambda u: u.cores_waited)),
    Column("utilization_per_core", _of("utilization", lambda u: u.per_core)),
    Column("utilization_window_s", _of("utilization", lambda u: u.window_s)),
    Column("utilization_disturbed", _of("utilization", lambda u: u.disturbed)),
    Column("utilization_note", _utilization_note),
    Column("gpu_sm_utilization", _gpu(lambda g: g.sm)),
    Column("gpu_memory_utilization", _gpu(lambda g: g.memory)),
    Column("gpu_power_w", _gpu(lambda g: g.power_w)),
    Column("gpu_sm_clock_hz", _gpu(lambda g: g.sm_clock_hz)),
    Column("gpu_throttling", _gpu(lambda g: g.throttling)),
    Column("device_memory_bytes", _of("device_memory", lambda d: d.process_bytes)),
    Column("device_memory_allocated_bytes", _of("device_memory", lambda d: d.allocated_peak_bytes)),
    Column("device_memory_reserved_bytes", _of("device_memory", lambda d: d.reserved_peak_bytes)),
    Column("scenario_valid", _scenario(lambda s: s.valid)),
    Column("scenario_reason", _scenario(lambda s: s.reason)),
    Column("scenario_metric", _scenario(lambda s: s.metric)),
    Column("scenario_value", _scenario(lambda s: s.value)),
    Column("scenario_floor", _scenario(lambda s: s.floor)),
    Column("scenario_percentile", _scenario(lambda s: _or(s.percentile, NO_LATENCY))),
    Column("scenario_latency_s", _scenario(lambda s: _or(s.latency_s, NO_LATENCY))),
    Column("scenario_early_stopping_s", _scenario(lambda s: s.early_stopping_s)),
    Column("scenario_bound_s", _scenario(lambda s: _or(s.bound_s, "only the server scenario has a bound"))),
    Column("scenario_queries", _scenario(lambda s: s.queries)),
    Column("scenario_samples_per_query", _scenario(lambda s: s.samples_per_query)),
    Column("scenario_duration_s", _scenario(lambda s: s.duration_s)),
    Column("scenario_min_duration_s", _scenario(lambda s: s.min_duration_s)),
    Column("scenario_resolution", _scenario(lambda s: _or(s.resolution, "nothing was searched"))),
    Column("scenario_official", _scenario(lambda s: s.official)),
    Column("scenario_log", _scenario(lambda s: s.log)),
)


def records_df(run: Run) -> pd.DataFrame:
    """Return one row a record with the columns of ``COLUMNS``, the absolute estimates, and ``missing``.

    Absolute estimates: ``latency_p50_s``/``p95``/``p99`` and ``throughput_per_s`` (examples a second), each
    with ``_low`` and ``_high`` (95 %), and ``quality`` with its interval and ``quality_n``. The roofline's columns are
    those of ``harness.roofline``: ``flops`` and ``bytes_moved`` of one call, ``arithmetic_intensity``,
    ``attained_flops_per_s``, ``roofline_share`` and ``bound_by``. What really ran stands in those of
    ``harness.execution``: ``executed_format`` with its ``executed_share``, ``conversion_share``, ``layers_changed``.
    """
    samples, peaks = SampleReader(run), run_peaks(run)
    rows = [_row(run, record, samples, peaks) for record in run.records]
    return pd.DataFrame(rows, columns=None if rows else [c.name for c in COLUMNS])


def spread(prefix: str, estimate: Estimate | NotEnough | Mean | None, suffix: str = "") -> dict[str, Any]:
    """Return an estimate as columns ``prefix``, ``prefix_low``, ``prefix_high``."""
    if estimate is None or isinstance(estimate, NotEnough):
        values: tuple[Any, Any, Any] = (None, None, None)
    else:
        values = (estimate.value, estimate.low, estimate.high)
    names = (f"{prefix}{suffix}", f"{prefix}_low{suffix}", f"{prefix}_high{suffix}")
    return dict(zip(names, values, strict=True))


def run_peaks(run: Run) -> dict[int, Peaks]:
    """Return the peaks that had been measured on the run's host when it began, by thread count; none in older runs."""
    try:
        return peaks_of(run.header)
    except ValueError as error:
        raise StoreError(f"{run.directory / RUN_FILE} is damaged: {error}") from error


def _row(run: Run, record: Record, samples: SampleReader, peaks: Mapping[int, Peaks]) -> dict[str, Any]:
    missing: dict[str, str] = {}
    row: dict[str, Any] = {}
    for column in COLUMNS:
        value = column.read(record)
        if isinstance(value, Unmeasured):
            missing[column.name] = value.reason
            value = None
        row[column.name] = value
    row |= _quality_columns(run, record, missing)
    row |= _latency_columns(record, samples, missing)
    row |= roofline_columns(record, row["latency_p50_s"], peaks, missing)
    row |= execution_columns(record, missing)
    row["missing"] = missing
    return row


def _quality_columns(run: Run, record: Record, missing: dict[str, str]) -> dict[str, Any]:
    found = predictions_of(run, record)
    blank = {**spread("quality", None), "quality_n": None}
    if found is None:
        assert isinstance(record.quality, Unmeasured)
        missing["quality"] = record.quality.reason
        return blank
    try:
        value = value_of(found)
    except ValueError as error:
        missing["quality"] = str(error)
        return blank
    return {**spread("quality", value), "quality_n": value.n}


def _latency_columns(record: Record, samples: SampleReader, missing: dict[str, str]) -> dict[str, Any]:
    names = [f"latency_{name}" for name in PERCENTILES]
    if isinstance(record.timing, Unmeasured):
        for name in names:
            missing[f"{name}_s"] = record.timing.reason
        missing["throughput_per_s"] = record.timing.reason
        blank: dict[str, Any] = {}
        for name in names:
            blank |= spread(name, None, "_s")
        return {**blank, **spread("throughput", None, "_per_s")}
    latencies = samples.latencies(record)
    row: dict[str, Any] = {}
    estimates: Mapping[str, Estimate | NotEnough] = {
        name: percentile(latencies, q) for name, q in zip(names, PERCENTILES.values(), strict=True)
    }
    for name, estimate in estimates.items():
        row |= spread(name, estimate, "_s")
        if isinstance(estimate, NotEnough):
            missing[f"{name}_s"] = estimate.reason
    rate = throughput(latencies, record.trial.batch_size)
    if isinstance(rate, NotEnough):
        missing["throughput_per_s"] = rate.reason
    return {**row, **spread("throughput", rate, "_per_s")}


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the frames of several runs below each other, leaving empty ones out."""
    full = [f for f in frames if len(f)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=[c.name for c in COLUMNS])
