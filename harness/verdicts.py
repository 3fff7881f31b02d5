"""Comparisons within an experiment: speed-ups with intervals and verdicts, quality as a paired test.

Two ratios of every variant: over the experiment's baseline, and over its own backend's plain row, which tells
the technique from the engine. Only trials of one experiment of one run are ever compared: they ran side by
side on one host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import StoreError
from harness.frame import concat, records_df, spread
from harness.kept import PredictionReader, quality_columns
from harness.noise import Noise, noise_from_json
from harness.reasons import add_reasons
from harness.references import References, engine_of, references_of
from harness.samples import SampleReader, alone_latencies
from harness.schema import Record, Status, Timing, Unmeasured
from harness.stats.compare import speed_verdict
from harness.stats.estimate import Estimate, NotEnough, log_ratios, percentile, prefer_clean, speedup, stretched
from harness.stats.noise import floor
from harness.store import RUN_FILE, Run, find_runs, read_run

MOST_CROWDING = 0.95  # the kernel's counters are too coarse to tell more


def load(path: str | Path = "results") -> pd.DataFrame:
    """Return all trials below ``path`` (a run, or a folder of runs) as a DataFrame, one row a trial.

    Columns beside those of ``harness.frame``:

    * ``speedup`` (t_baseline / t_variant, above 1 is faster) with ``_low``, ``_high`` (95 %), ``_verdict``
      (``faster``, ``slower``, ``same``, ``inconclusive``), ``_reason``, ``_rounds``, ``_units``,
      ``_scope``, ``_clean`` (from clean rounds alone; else the interval is widened by what others could have
      added, see ``stats.estimate.stretched``), and ``speedup_all`` with its interval from all rounds, disturbed
      ones included;
    * ``technique_speedup`` and the same suffixes: over the same backend's plain row;
    * ``quality_change`` (negative is worse) with interval, ``quality_verdict`` (``kept``, ``lost``,
      ``inconclusive``), ``quality_flips`` (share of examples whose score changed), ``quality_n_needed``,
      ``quality_method`` (how the interval came about), ``quality_mcnemar_p`` (exact, of right/wrong scores);
    * ``prediction_flips`` (share of examples that get another class than from the baseline), and of the class with the
      largest drop in recall ``worst_class``, ``worst_class_change``, ``worst_class_n``;
    * ``why``: one sentence where a variant is not faster than its own engine's plain row or the baseline, or gains less
      than its technique should; the ``why_rule`` that gave it, ``why_against`` which trial, ``why_ratio`` over that;
    * ``alone_p50_s``, ``alone_speedup`` with intervals: of trials that were timed alone afterwards (--confirm);
    * ``noise_floor``: the smallest relative difference to the baseline that the host resolves at this trial's
      replicates and rounds, from the noise measured before the run; missing with the command that measures it.
      No speed verdict claims below it.

    Raises UserError when there are no results at ``path`` and StoreError when they are damaged.
    """
    return concat([run_df(read_run(directory)) for directory in find_runs(Path(path))])


def run_df(run: Run) -> pd.DataFrame:
    """Return one run's trials with all comparisons; see ``load``."""
    frame = records_df(run)
    if not len(frame):
        return frame
    noise = _noise_by_threads(run)
    settings = {
        e["name"]: _Settings(e["measure"]["margin"], e["quality_margin"], noise, alone_latencies(run, e["name"]))
        for e in run.header["experiments"]
    }
    samples, references, predictions = SampleReader(run), references_of(run.records), PredictionReader(run)
    extra = [
        _comparisons(record, references[record.trial.experiment], settings[record.trial.experiment], samples)
        for record in run.records
    ]
    for record, row in zip(run.records, extra, strict=True):
        baseline = references[record.trial.experiment].baseline
        row |= quality_columns(predictions, record, baseline, row["quality_margin"], row["missing"])
    add_reasons(run, references, frame, extra)
    for row, more in zip(frame["missing"], extra, strict=True):
        row.update(more.pop("missing"))
    return pd.concat([frame, pd.DataFrame(extra, index=frame.index)], axis=1)


@dataclass(frozen=True)
class _Settings:
    margin: float
    quality_margin: float
    noise: Mapping[int, Noise]  # by thread count
    alone: Mapping[str, Sequence[Any]]  # latencies of trials that were timed alone, one array a process


def _noise_by_threads(run: Run) -> dict[int, Noise]:
    """Return the noise that had been measured on the run's host when it began; none in runs of older versions."""
    try:
        entries = [noise_from_json(entry) for entry in run.header.get("noise", [])]
    except ValueError as error:
        raise StoreError(f"{run.directory / RUN_FILE} is damaged: {error}") from error
    return {entry.threads: entry for entry in entries if entry.host == run.header["host"]["id"]}


def _comparisons(record: Record, references: References, settings: _Settings, samples: SampleReader) -> dict[str, Any]:
    baseline = references.baseline
    missing: dict[str, str] = {}
    row: dict[str, Any] = {"margin": settings.margin, "quality_margin": settings.quality_margin}
    row |= _speed("speedup", record, baseline, settings, samples, missing)
    row |= _speed("technique_speedup", record, references.plain.get(engine_of(record)), settings, samples, missing)
    least = _floor(record, baseline, settings.noise, samples)
    if isinstance(least, NotEnough):
        missing["noise_floor"] = least.reason
    row["noise_floor"] = None if isinstance(least, NotEnough) else least
    row |= _alone(settings.alone, record, baseline, missing)
    return {**row, "missing": missing}


def _alone(
    alone: Mapping[str, Sequence[Any]], record: Record, baseline: Record | None, missing: dict[str, str]
) -> dict[str, Any]:
    """Return what a trial's own processes took with the host to themselves, and that ratio to the baseline."""
    own = alone.get(record.trial.name)
    if own is None:
        missing["alone_p50_s"] = "not timed alone: harness run --confirm times the baseline and the winner"
        return {**spread("alone_p50", None, "_s"), **spread("alone_speedup", None)}
    base = None if baseline is None or baseline is record else alone.get(baseline.trial.name)
    ratio: Estimate | NotEnough = NotEnough("this is the row that others are compared with")
    if base is not None:
        medians = zip(base, own, strict=False)
        ratio = speedup([np.array([math.log(np.median(b)) - math.log(np.median(v))]) for b, v in medians])
    return {**spread("alone_p50", percentile(own, 0.5), "_s"), **spread("alone_speedup", ratio)}


def _speed(
    prefix: str,
    record: Record,
    reference: Record | None,
    settings: _Settings,
    samples: SampleReader,
    missing: dict[str, str],
) -> dict[str, Any]:
    estimate, everything, clean = _ratio(record, reference, samples)
    row = {**spread(prefix, estimate), **spread(f"{prefix}_all", everything)}
    blank = isinstance(estimate, NotEnough)
    if isinstance(estimate, NotEnough):
        missing[prefix] = estimate.reason
    least = _floor(record, reference, settings.noise, samples)
    known = None if isinstance(least, NotEnough) else least
    verdict = None if blank else speed_verdict(estimate, settings.margin, known)
    return {
        **row,
        f"{prefix}_verdict": None if verdict is None else str(verdict.verdict),
        f"{prefix}_reason": None if verdict is None else verdict.reason,
        f"{prefix}_rounds": None if isinstance(estimate, NotEnough) else estimate.n,
        f"{prefix}_units": None if isinstance(estimate, NotEnough) else estimate.units,
        f"{prefix}_scope": None if isinstance(estimate, NotEnough) else estimate.scope,
        f"{prefix}_clean": clean,
    }


def _floor(
    record: Record, reference: Record | None, noise: Mapping[int, Noise], samples: SampleReader
) -> float | NotEnough:
    """Return the noise floor of a comparison at its own replicates and rounds.

    Where the two sides have different numbers of threads, the noisier one counts.
    """
    timing = record.timing
    if isinstance(timing, Unmeasured):
        return NotEnough(timing.reason)
    if record.trial.device != "cpu":
        return NotEnough("noise is measured for the CPU only")
    used = {r.trial.threads for r in (record, reference) if r is not None}
    for threads in sorted(used - noise.keys()):
        return NotEnough(
            f"not measured for {threads} thread{'s' if threads > 1 else ''} on this host: "
            f"harness doctor --noise --threads {threads}"
        )
    medians = [samples.medians(timing, timing.group, record.trial.name, clean=clean) for clean in (True, False)]
    clean, everything = ([np.array(list(m.values())) for m in replicates] for replicates in medians)
    chosen, _ = prefer_clean(clean, everything)
    rounds = sum(len(c) for c in chosen) / len(chosen)
    return max(floor(noise[t].within, noise[t].between, len(chosen), rounds) for t in used)


def _ratio(
    record: Record, reference: Record | None, samples: SampleReader
) -> tuple[Estimate | NotEnough, Estimate | NotEnough, bool]:
    """Return the estimate from clean rounds where they suffice, the one from all rounds, and whether clean."""

    def none(reason: str) -> tuple[NotEnough, NotEnough, bool]:
        return NotEnough(reason), NotEnough(reason), False

    if isinstance(record.timing, Unmeasured):
        return none(record.timing.reason)
    if reference is None or isinstance(reference.timing, Unmeasured):
        return none("the row to compare with was not measured")
    if reference.trial.name == record.trial.name:
        return none("this is the row that others are compared with")
    timing = record.timing

    def ratios(*, clean: bool) -> list[Any]:
        base = samples.medians(timing, timing.group, reference.trial.name, clean=clean)
        own = samples.medians(timing, timing.group, record.trial.name, clean=clean)
        return [log_ratios(b, v) for b, v in zip(base, own, strict=True)]

    everything = ratios(clean=False)
    chosen, clean = prefer_clean(ratios(clean=True), everything)
    share = _crowding(timing)
    whole = speedup(everything)
    whole = whole if isinstance(whole, NotEnough) else stretched(whole, share)
    return (speedup(chosen) if clean else whole), whole, clean


def _crowding(timing: Timing) -> float:
    """Return the share of the cores' busy time that others had, over all rounds; 0 where nobody looked."""
    seen = timing.disturbance
    if isinstance(seen, Unmeasured):
        return 0.0
    return min(seen.crowding, MOST_CROWDING)


def summary(frame: pd.DataFrame) -> Mapping[str, int]:
    """Count trials by status."""
    return {str(status): int((frame["status"] == str(status)).sum()) for status in Status}
