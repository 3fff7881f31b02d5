"""The answer of an experiment in sentences: which variant ships, by which evidence, and what stays open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness import units
from harness.frame import AGREEMENT_NOTES
from harness.report.rows import Metric, Row, absent, baseline_of, each, engine_of, estimate, measured, metric_of, needed
from harness.units import ratio

NAMED = 3  # variants named in one sentence; more are counted
SAME_MEMORY = 0.05  # relative; peaks of two processes differ by a few percent without cause


@dataclass(frozen=True)
class Answer:
    """What to ship and why.

    Attributes:
        subject: the winning variant's name; None when nothing is proven.
        verdict: the sentence about it, or the sentence that says that nothing is proven.
        notes: further sentences: what was not told apart, passed over, or not measured.
    """

    subject: str | None
    verdict: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.subject}: {self.verdict}" if self.subject else self.verdict
        return " ".join((head, *self.notes))


def answer(rows: pd.DataFrame, planned: Sequence[str] = ()) -> Answer:
    """Return the answer of one experiment.

    Args:
        rows: its rows, columns of ``report_df``.
        planned: names of its trials as the run's header has them; those without a record are counted.

    The winner has the highest speed-up among variants that are ``faster`` with their quality ``kept``; where
    no quality was measured, speed alone decides and the sentence says so.
    """
    base = baseline_of(rows) if len(rows) else None
    closing = (*_meaning(rows), *_ended_early(rows), *_without_record(rows, planned))
    if base is None:
        return Answer(None, "The baseline has no record, so nothing can be compared.", closing)
    if base["status"] != "ok":
        verdict = f"The baseline {base['trial']} was not measured ({base['status']}), so nothing can be compared."
        return Answer(None, verdict, closing)
    metric = metric_of(rows)
    compared = measured(rows)
    compared = compared[compared["speedup"].notna()]
    if not len(compared):
        return Answer(None, f"Nothing was measured beside the baseline {base['trial']}.", closing)
    faster = compared[compared["speedup_verdict"] == "faster"]
    proven = faster if metric is None else faster[faster["quality_verdict"] == "kept"]
    if not len(proven):
        return Answer(None, _nothing(metric, base), (*_nearest(compared, metric), *closing))
    best = proven.iloc[0]
    passed = faster[faster["speedup"] > best["speedup"]]
    notes = (
        *_crowded(best),
        *_alone(best, base),
        *_engine(best, rows),
        *_overlapping(best, proven, engine_of(best, rows)),
        *_passed_over(passed, metric),
        *closing,
    )
    return Answer(str(best["trial"]), _winner(best, base, metric), notes)


def _crowded(best: Row) -> list[str]:
    """Warn where the host was too busy for clean rounds."""
    if absent(best["other_cpu_share"]) or bool(best["speedup_clean"]):
        return []
    share = units.percent(float(best["other_cpu_share"]) + float(best["steal_share"]))
    return [
        f"Mind that others used {share} of the measured cores' time and clean rounds did not suffice: intervals are "
        "widened by what that could have added. Measure again on a quiet host."
    ]


def _alone(best: Row, base: Row) -> list[str]:
    """Say what winner and baseline took with the host to themselves, where that was measured."""
    if absent(best["alone_p50_s"]) or absent(base["alone_p50_s"]):
        return []
    times = f"{units.seconds(base['alone_p50_s'])} for {base['trial']}, {units.seconds(best['alone_p50_s'])} for it"
    if absent(best["alone_speedup"]):
        return [f"Timed alone, the median call took {times}."]
    interval = f"[{units.ratio(best['alone_speedup_low'])[:-1]}, {units.ratio(best['alone_speedup_high'])[:-1]}]"
    return [f"Timed alone, the median call took {times}: {units.ratio(best['alone_speedup'])} {interval}."]


def _meaning(rows: pd.DataFrame) -> list[str]:
    """Say what the quality stands for where the data has no targets."""
    kinds = set(rows["quality_data"].dropna()) if len(rows) else set()
    notes = [AGREEMENT_NOTES[kind] for kind in sorted(kinds) if kind in AGREEMENT_NOTES]
    metric = metric_of(rows) if notes else None
    return [] if metric is None else [f"Quality here is {metric.name} {note}." for note in notes]


def _winner(best: Row, base: Row, metric: Metric | None) -> str:
    parts = [f"{estimate(best)} faster than {base['trial']}"]
    if metric is not None:
        change, margin = metric.change(best["quality_change"]), metric.margin(best["quality_margin"])
        parts.append(f"{metric.name} kept ({change}, margin {margin})")
    parts.extend(_memory(best, base))
    unjudged = " Quality was not measured, so only speed is judged." if metric is None else ""
    return ", ".join(parts) + "." + unjudged


def _memory(best: Row, base: Row) -> list[str]:
    own, reference = best["inference_over_floor_bytes"], base["inference_over_floor_bytes"]
    if absent(own) or absent(reference) or reference <= 0 or own < 0:
        return []
    change = own / reference - 1
    if abs(change) < SAME_MEMORY:
        return ["about the same memory over the floor"]
    return [f"{100 * abs(change):.0f} % {'less' if change < 0 else 'more'} memory over the floor"]


def _engine(best: Row, rows: pd.DataFrame) -> list[str]:
    """Tell the engine's share of the winner's speed-up from the technique's."""
    engine = engine_of(best, rows)
    if engine is None or absent(best["technique_speedup"]) or engine["role"] == "baseline":
        return []
    if absent(engine["speedup"]) or engine["trial"] == best["trial"]:
        return []
    return [
        f"The engine alone ({engine['trial']}) gives {ratio(engine['speedup'])}; against that engine, compared call by "
        f"call, the technique gives {ratio(best['technique_speedup'])}."
    ]


def _overlapping(best: Row, proven: pd.DataFrame, engine: Row | None) -> list[str]:
    others = proven[(proven["trial"] != best["trial"]) & (proven["speedup_high"] >= best["speedup_low"])]
    if engine is not None and best["technique_speedup_verdict"] == "faster":
        others = others[others["trial"] != engine["trial"]]  # compared in pairs, it is told apart
    if not len(others):
        return []
    named = _names([f"{row['trial']} ({estimate(row)})" for row in each(others)])
    return [f"Not told apart from {named}: the intervals overlap."]


def _passed_over(rows: pd.DataFrame, metric: Metric | None) -> list[str]:
    if metric is None:
        return []
    sentences = [f"Passed over: {row['trial']}, {estimate(row)}, {_why(row, metric)}." for row in each(rows[:NAMED])]
    return sentences + ([f"So were {len(rows) - NAMED} more."] if len(rows) > NAMED else [])


def _why(row: Row, metric: Metric) -> str:
    verdict = row["quality_verdict"]
    if absent(verdict):
        reason = row["missing"].get("quality") or row["missing"].get("quality_change") or "not measured"
        return f"its {metric.name} was not judged ({reason})"
    change = f"{metric.change(row['quality_change'])}, margin {metric.margin(row['quality_margin'])}"
    if verdict == "inconclusive":
        return f"since its {metric.name} is inconclusive ({change}; {needed(row)})"
    return f"since its {metric.name} is {verdict} ({change})"


def _nothing(metric: Metric | None, base: Row) -> str:
    if metric is None:
        return f"Nothing is proven faster than {base['trial']}. Quality was not measured, so only speed is judged."
    return f"Nothing is proven faster than {base['trial']} with its {metric.name} kept."


def _nearest(compared: pd.DataFrame, metric: Metric | None) -> list[str]:
    """Name what came close when nothing is proven: faster ones first, then undecided ones."""
    faster = compared[compared["speedup_verdict"] == "faster"]
    if len(faster):
        return _passed_over(faster, metric)
    open_ = compared[compared["speedup_verdict"] == "inconclusive"]
    if not len(open_):
        return []
    named = _names([f"{row['trial']} ({estimate(row)})" for row in each(open_)])
    return [f"Whether {named} {'is' if len(open_) == 1 else 'are'} faster is inconclusive."]


def _ended_early(rows: pd.DataFrame) -> list[str]:
    early = rows[rows["status"] != "ok"] if len(rows) else rows
    if not len(early):
        return []
    named = _names([f"{row['trial']} ({row['status']})" for row in each(early)])
    trials = f"{len(rows)} trial{'s' if len(rows) > 1 else ''}"
    return [f"{len(early)} of {trials} {'was' if len(early) == 1 else 'were'} not measured: {named}."]


def _without_record(rows: pd.DataFrame, planned: Sequence[str]) -> list[str]:
    recorded = set(rows["trial"]) if len(rows) else set()
    lost = [name for name in planned if name not in recorded]
    if not lost:
        return []
    verb = "trial has" if len(lost) == 1 else "trials have"
    return [f"{len(lost)} {verb} no record, since the run was cut short: {_names(lost)}."]


def _names(names: Sequence[str]) -> str:
    """Join names for a sentence: ``a, b and c``, or ``a, b, c and 4 more``."""
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
