"""The full table: every trial in it, each cell as text and as the value it sorts by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from harness import units
from harness.execution import what_ran
from harness.report.roofline import has_roofline
from harness.report.rows import Metric, Row, absent, each, estimate, measured, metric_of, needed, optional, p_value

Key = float | str | None  # what a column is sorted by; None stands last either way


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, what it sorts by, and the verdict that stands beside it."""

    text: str
    key: Key
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True)
class Heading:
    """One column; ``numeric`` ones are aligned right and first sorted from large to small."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class TableRow:
    """One trial. ``reason`` is set when it ended early; its measured cells are then empty."""

    cells: tuple[Cell, ...]
    baseline: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and rows; the first ``fixed`` columns are known of every trial, however it ended."""

    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    fixed: int = 4


@dataclass(frozen=True)
class _Column:
    """``needs``: the column of the frame without whose values this one is left out."""

    heading: Heading
    read: Callable[[Row, Metric | None], Cell]
    needs: str = ""


def table(rows: pd.DataFrame) -> Table:
    """Return the table of one experiment: measured trials fastest first, then those that ended early."""
    metric = metric_of(rows)
    early = rows[rows["status"] != "ok"]
    known = (*_COLUMNS, *_ROOFLINE) if has_roofline(rows) else _COLUMNS
    columns = [c for c in known if not c.needs or rows[c.needs].notna().any()]

    def cells(row: Row) -> tuple[Cell, ...]:
        return tuple(column.read(row, metric) for column in columns)

    body = [TableRow(cells(row), row["role"] == "baseline") for row in each(measured(rows))]
    body += [TableRow(cells(row), row["role"] == "baseline", _reason(row)) for row in each(early)]
    name = "quality" if metric is None else metric.name
    headings = [Heading(c.heading.title.format(metric=name), c.heading.numeric) for c in columns]
    return Table(tuple(headings), tuple(body))


def _reason(row: Row) -> str:
    reason = "no reason recorded" if absent(row["reason"]) else str(row["reason"])
    stage = "" if absent(row["stage"]) else f" (stage {row['stage']})"
    return reason + stage + ("" if absent(row["log"]) else f"; log: {row['log']}")


def _text(name: str) -> Callable[[Row, Metric | None], Cell]:
    def read(row: Row, _: Metric | None) -> Cell:
        text = "" if absent(row[name]) else str(row[name])
        return Cell(text or "–", text or None)

    return read


def _number(name: str, show: Callable[[float], str]) -> Callable[[Row, Metric | None], Cell]:
    def read(row: Row, _: Metric | None) -> Cell:
        why = row["missing"].get(name, "")
        return Cell(optional(row[name], show), _key(row[name]), note=str(why) if absent(row[name]) else "")

    return read


def _key(value: float | None) -> Key:
    return None if value is None or absent(value) else float(value)


def _passes(row: Row, _: Metric | None) -> Cell:
    text = " + ".join(filter(None, (row["passes"], row["options"])))
    return Cell(text or "–", text or None)


def _quality(row: Row, metric: Metric | None) -> Cell:
    if metric is None or absent(row["quality"]):
        return Cell("–", None, note=str(row["missing"].get("quality", "")))
    text = f"{metric.value(row['quality'])} {metric.interval(row['quality_low'], row['quality_high'])}"
    return Cell(text, _key(row["quality"]))


def _change(row: Row, metric: Metric | None) -> Cell:
    if metric is None or absent(row["quality_change"]):
        return Cell("–", None)
    verdict = str(row["quality_verdict"])
    return Cell(metric.change(row["quality_change"]), _key(row["quality_change"]), verdict, _quality_note(row, metric))


def _quality_note(row: Row, metric: Metric) -> str:
    """Say what stands behind a verdict on quality: the test, the answers that changed, and the class that lost most."""
    parts = [needed(row)] if row["quality_verdict"] == "inconclusive" else []
    if not absent(row["quality_method"]):
        interval = metric.interval(row["quality_change_low"], row["quality_change_high"])
        parts.append(f"{row['quality_method']} interval {interval}{' pt' if metric.percent else ''}")
    if not absent(row["quality_mcnemar_p"]):
        parts.append(f"exact McNemar {p_value(row['quality_mcnemar_p'])}")
    if not absent(row["prediction_flips"]):
        parts.append(f"{units.percent(row['prediction_flips'])} of the answers changed")
    if not absent(row["worst_class"]) and row["worst_class_change"] < 0:
        change = f"{100 * row['worst_class_change']:.1f}".replace("-", "−")
        parts.append(f"worst class {row['worst_class']:.0f}: {change} pt (n = {row['worst_class_n']:.0f})")
    return "; ".join(parts)


def _speed(prefix: str) -> Callable[[Row, Metric | None], Cell]:
    def read(row: Row, _: Metric | None) -> Cell:
        if absent(row[prefix]):
            if prefix == "speedup" and row["role"] == "baseline":
                return Cell("1×", 1.0, "baseline")
            return Cell("–", None, note=str(row["missing"].get(prefix, "")))
        note = "" if absent(row[f"{prefix}_reason"]) else str(row[f"{prefix}_reason"])
        return Cell(estimate(row, prefix), _key(row[prefix]), str(row[f"{prefix}_verdict"]), note)

    return read


def _ran(row: Row, _: Metric | None) -> Cell:
    note = (
        "" if absent(row["execution_source"]) else f"asked for {row['precision_requested']}; {row['execution_source']}"
    )
    return Cell(what_ran(row) or "–", what_ran(row) or None, note=note)


def _layers(row: Row, _: Metric | None) -> Cell:
    if absent(row["layers_total"]):
        return Cell("–", None)
    return Cell(f"{row['layers_changed']:.0f} of {row['layers_total']:.0f}", _key(row["layers_changed"]))


def _build(row: Row, _: Metric | None) -> Cell:
    note = "from the cache; the time it took when it was built" if row["build_cached"] is True else ""
    return Cell(optional(row["build_s"], units.seconds) + ("*" if note else ""), _key(row["build_s"]), note=note)


def _threads(row: Row, _: Metric | None) -> Cell:
    return Cell(optional(row["threads_actual"], lambda n: f"{n:g}"), _key(row["threads_actual"]))


def _noted(name: str, note: str, show: Callable[[float], str]) -> Callable[[Row, Metric | None], Cell]:
    """Show a number, marked where a note says that something is odd about it."""
    plain = _number(name, show)

    def read(row: Row, metric: Metric | None) -> Cell:
        cell = plain(row, metric)
        return cell if absent(row[note]) else Cell(f"{cell.text} (!)", cell.key, note=str(row[note]))

    return read


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


_COLUMNS = (
    _Column(Heading("variant", numeric=False), _text("trial")),
    _Column(Heading("backend", numeric=False), _text("backend")),
    _Column(Heading("passes", numeric=False), _passes),
    _Column(Heading("status", numeric=False), _text("status")),
    _Column(Heading("{metric} [95 %]"), _quality),
    _Column(Heading("change"), _change),
    _Column(Heading("speed-up [95 %]"), _speed("speedup")),
    _Column(Heading("over own engine"), _speed("technique_speedup")),
    _Column(Heading("p50"), _number("latency_p50_s", units.seconds)),
    _Column(Heading("p95"), _number("latency_p95_s", units.seconds)),
    _Column(Heading("p99"), _number("latency_p99_s", units.seconds)),
    _Column(Heading("throughput"), _number("throughput_per_s", _rate)),
    _Column(Heading("memory"), _noted("inference_over_floor_bytes", "leak_note", units.size)),
    _Column(Heading("held"), _number("anonymous_bytes", units.size), needs="anonymous_bytes"),
    _Column(Heading("GPU memory"), _number("device_memory_bytes", units.size), needs="device_memory_bytes"),
    _Column(Heading("size"), _number("artifact_bytes", units.size)),
    _Column(Heading("build"), _build),
    _Column(Heading("parameters"), _number("parameters", lambda n: f"{n:,.0f}")),
    _Column(Heading("precision", numeric=False), _text("precision_actual")),
    _Column(Heading("what ran", numeric=False), _ran, needs="execution_source"),
    _Column(Heading("layers changed"), _layers, needs="layers_total"),
    _Column(Heading("threads"), _threads),
    _Column(Heading("cores used"), _noted("utilization", "utilization_note", "{:.2f}".format), needs="utilization"),
    _Column(Heading("GPU use"), _number("gpu_sm_utilization", units.percent), needs="gpu_sm_utilization"),
    _Column(Heading("energy/example"), _number("energy_j", units.energy), needs="energy_j"),
)

# Only where the host's peaks are known.
_ROOFLINE = (
    _Column(Heading("operations"), _number("flops", lambda n: units.rate(n, "op"))),
    _Column(Heading("of the limit"), _number("roofline_share", lambda share: units.percent(share, 0))),
    _Column(Heading("bound by", numeric=False), _text("bound_by")),
)
