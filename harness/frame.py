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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import units
from harness.errors import StoreError
from harness.schema import (
    Artifact,
    FidelityCheck,
    GpuUse,
    Memory,
    Quality,
    Record,
    Timing,
    Unmeasured,
    Utilization,
)
from harness.stats.estimate import Estimate, NotEnough, percentile, throughput
from harness.stats.quality import Mean, mean_score
from harness.store import Run, read_table

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


def _quality(read: Callable[[Quality], Any]) -> Callable[[Record], Any]:
    return _of("quality", read)


def _fidelity(read: Callable[[FidelityCheck], Any]) -> Callable[[Record], Any]:
    return _of("fidelity", read)


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
)


def records_df(run: Run) -> pd.DataFrame:
    """Return one row a record with the columns of ``COLUMNS``, the absolute estimates, and ``missing``.

    Absolute estimates: ``latency_p50_s``/``p95``/``p99`` and ``throughput_per_s`` (examples a second), each
    with ``_low`` and ``_high`` (95 %), and ``quality`` with its interval and ``quality_n``.
    """
    samples = SampleReader(run)
    rows = [_row(run, record, samples) for record in run.records]
    return pd.DataFrame(rows, columns=None if rows else [c.name for c in COLUMNS])


def scores_of(run: Run, record: Record) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Return the score of each test example, in order; None when quality was not measured."""
    if isinstance(record.quality, Unmeasured):
        return None
    table = read_table(run.directory / record.quality.predictions)
    return np.asarray(table.column("score").to_numpy(), dtype=np.float64)


class SampleReader:
    """Reads the raw samples of a run's experiments, each once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._frames: dict[tuple[str, int], pd.DataFrame] = {}

    def frame(self, timing: Timing, group: int) -> pd.DataFrame:
        """Return samples of one group: trial, replicate, round, position, dirty, latency_ns; one row a call."""
        key = (timing.samples, group)
        if key not in self._frames:
            folder = self._run.directory / timing.samples
            paths = sorted(folder.glob(f"group-{group}-replicate-*.parquet"), key=_replicate_number)
            frames = [read_table(p).to_pandas() for p in paths]
            if not frames:
                raise StoreError(f"{folder} holds no samples of group {group}; restore it from where the run was made")
            self._frames[key] = pd.concat(frames, ignore_index=True)
        return self._frames[key]

    def latencies(self, record: Record) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """Return a trial's latencies in seconds, one array a replicate; clean rounds where there are any."""
        assert isinstance(record.timing, Timing)
        frame = self.frame(record.timing, record.timing.group)
        own = frame[frame["trial"] == record.trial.name]
        result = []
        for _, part in own.groupby("replicate"):
            clean = part[~part["dirty"]]
            chosen = clean if len(clean) else part
            result.append(chosen["latency_ns"].to_numpy(dtype=np.float64) / 1e9)
        return result

    def medians(self, timing: Timing, group: int, trial: str, *, clean: bool) -> list[dict[int, float]]:
        """Return block medians in seconds keyed by round, one mapping a replicate."""
        frame = self.frame(timing, group)
        result = []
        for _, part in frame.groupby("replicate"):
            own = part[part["trial"] == trial]
            own = own[~own["dirty"]] if clean else own
            medians = own.groupby("round")["latency_ns"].median() / 1e9
            result.append({int(number): float(value) for number, value in medians.items()})  # type: ignore[call-overload]
        return result


def spread(prefix: str, estimate: Estimate | NotEnough | Mean | None, suffix: str = "") -> dict[str, Any]:
    """Return an estimate as columns ``prefix``, ``prefix_low``, ``prefix_high``."""
    if estimate is None or isinstance(estimate, NotEnough):
        values: tuple[Any, Any, Any] = (None, None, None)
    else:
        values = (estimate.value, estimate.low, estimate.high)
    names = (f"{prefix}{suffix}", f"{prefix}_low{suffix}", f"{prefix}_high{suffix}")
    return dict(zip(names, values, strict=True))


def _row(run: Run, record: Record, samples: SampleReader) -> dict[str, Any]:
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
    row["missing"] = missing
    return row


def _quality_columns(run: Run, record: Record, missing: dict[str, str]) -> dict[str, Any]:
    scores = scores_of(run, record)
    if scores is None:
        assert isinstance(record.quality, Unmeasured)
        missing["quality"] = record.quality.reason
        return {**spread("quality", None), "quality_n": None}
    mean = mean_score(scores)
    return {**spread("quality", mean), "quality_n": mean.n}


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


def _replicate_number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the frames of several runs below each other, leaving empty ones out."""
    full = [f for f in frames if len(f)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=[c.name for c in COLUMNS])
