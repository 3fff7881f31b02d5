"""Run → one HTML page that needs nothing else: text and table first, then the charts, plotly.js once at its end."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness import __version__
from harness.environment import describe
from harness.errors import UserError
from harness.frame import run_peaks
from harness.peaks import Peaks
from harness.report import figures, method
from harness.report.execution import executed, fallbacks
from harness.report.reasons import Reason, reasons
from harness.report.roofline import roofline
from harness.report.rows import report_df
from harness.report.scenarios import Scenarios, scenarios
from harness.report.sentences import Answer, answer
from harness.report.style import CONFIG
from harness.report.table import Table, table
from harness.samples import SampleReader
from harness.schema import Record, Timing
from harness.store import Run

CAPTIONS = {
    "tradeoff": (
        "Quality against speed",
        "Right is faster, up is better where more is better. Bars are 95 % intervals; the dashed line joins the "
        "Pareto front, the variants that no other beats in both. Hover or tap a point for all its figures.",
    ),
    "forest": (
        "Speed-up over the baseline",
        "An interval must lie wholly beyond the margin (shaded) to be called faster or slower; one that crosses it is "
        "inconclusive.",
    ),
    "engines": (
        "Engine apart from technique",
        "Hollow: the same engine without the technique. Filled: with it. The values are the engine's factor and "
        "the technique's factor over its own engine.",
    ),
    "latencies": (
        "Distribution of latencies",
        "The share of calls that took at most so long, from the raw samples of all replicates. "
        "Further left is faster; a steep line is steady. Press a name to hide or show its line.",
    ),
    "executed": (
        "What really ran",
        "Products and convolutions by the number format in which they were computed, conversions between formats and "
        "layouts, and all other operators, as the runtime itself told in a block of its own. The value is the main "
        "format’s share of the products.",
    ),
    "memory": (
        "Memory",
        "Peak resident memory over the floor, which is the process with its runtime and no model. "
        "The values are the peak at inference plus that floor.",
    ),
    "sizes": ("Size on disk", "All files that a deployment needs."),
    "roofline": (
        "The hardware’s limit",
        "Operations a second that each variant attains, over its operations for each byte that it must move. The lines "
        "are what this host can do at most: level by arithmetic, sloping by memory. A point far below both spends "
        "its time otherwise.",
    ),
}


@dataclass(frozen=True)
class LegendEntry:
    """One entry of a chart's legend: how its trace is drawn, and its number among the traces."""

    name: str
    color: str
    symbol: str
    trace: int


@dataclass(frozen=True)
class Chart:
    """One chart of the page with its words and notes; ``toggles``: pressing a legend entry hides its trace."""

    id: str
    title: str
    caption: str
    figure: Markup
    legend: tuple[LegendEntry, ...]
    height: int
    toggles: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One experiment of the page."""

    id: str
    name: str
    subtitle: str
    answer: Answer
    charts: tuple[Chart, ...]
    reasons: tuple[Reason, ...]
    table: Table | None
    scenarios: Scenarios | None
    gaps: tuple[method.Gap, ...]
    procedure: tuple[method.Fact, ...]


def write_report(run: Run, path: Path) -> Path:
    """Write the run's page to ``path`` and return it; raises UserError when it cannot be written."""
    text = render(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another place with --output") from error
    return path


def render(run: Run) -> str:
    """Return the run's page: HTML that makes no network request and runs no script but its own."""
    frame = report_df(run)
    samples = SampleReader(run)
    sections = [
        _section(f"e{number}", run, experiment, frame, samples)
        for number, experiment in enumerate(run.header["experiments"])
    ]
    scripts = {"script": _asset("report.js"), "plotly": get_plotlyjs()}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            suite=run.header.get("suite", run.name),
            host=describe(run.header["host"]),
            host_id=run.header["host"]["id"],
            date=str(run.header.get("started_at", ""))[:10],
            sections=sections,
            facts=method.environment(run),
            suite_text=run.header.get("suite_text"),
            version=__version__,
            css=Markup(_asset("report.css")),
            config=script_json(CONFIG),
            policy=_policy(scripts.values()),
            **{name: Markup(text) for name, text in scripts.items()},
        )
    )


def script_json(value: Any) -> Markup:
    """Return JSON that may stand inside <script>: nothing in it can close the element or open a comment."""
    text = value if isinstance(value, str) else json.dumps(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def legend_of(figure: go.Figure) -> tuple[LegendEntry, ...]:
    """Return an entry for each named trace, in the order in which they are drawn."""
    return tuple(_entry(trace, number) for number, trace in enumerate(figure.data) if trace.name)


def _entry(trace: Any, number: int) -> LegendEntry:
    name = html.unescape(trace.name)
    if trace.type == "bar":
        return LegendEntry(name, trace.marker.color, "bar", number)
    if trace.mode == "lines":
        return LegendEntry(name, trace.line.color, f"line-{trace.line.dash or 'solid'}", number)
    hollow = trace.marker.line.color if trace.marker.color == "var(--chart-ground)" else None
    return LegendEntry(name, hollow or trace.marker.color, f"{trace.marker.symbol}{'-open' if hollow else ''}", number)


def _section(
    identity: str, run: Run, experiment: Mapping[str, Any], frame: pd.DataFrame, samples: SampleReader
) -> Section:
    name = str(experiment["name"])
    rows = frame[frame["experiment"] == name] if len(frame) else frame
    records = [r for r in run.records if r.trial.experiment == name]
    return Section(
        id=identity,
        name=name,
        subtitle=_subtitle(experiment, records),
        answer=answer(rows, experiment.get("trials", ())),
        charts=tuple(_charts(identity, rows, records, samples, run_peaks(run))) if len(rows) else (),
        reasons=reasons(rows) if len(rows) else (),
        table=table(rows) if len(rows) else None,
        scenarios=scenarios(rows) if len(rows) else None,
        gaps=method.gaps(rows) if len(rows) else (),
        procedure=method.procedure(experiment, rows),
    )


def _subtitle(experiment: Mapping[str, Any], records: Sequence[Record]) -> str:
    text = f"{experiment['model']}, compared with {experiment['baseline']}"
    if not records:
        return text
    trial = records[0].trial
    threads = f"{trial.threads} thread{'s' if trial.threads != 1 else ''}"
    return f"{text}; {trial.workload}, batch {trial.batch_size}, {threads}, {trial.device}"


def _charts(
    identity: str,
    rows: pd.DataFrame,
    records: Sequence[Record],
    samples: SampleReader,
    peaks: Mapping[int, Peaks],
) -> list[Chart]:
    timed = {r.trial.name: samples.latencies(r) for r in records if isinstance(r.timing, Timing)}
    baseline = next((r.trial.name for r in records if r.trial.role == "baseline"), None)
    drawn = {
        "tradeoff": figures.tradeoff(rows),
        "forest": figures.forest(rows),
        "engines": figures.engines(rows),
        "executed": executed(rows),
        "latencies": figures.latencies(timed, baseline),
        "memory": figures.memory(rows),
        "sizes": figures.sizes(rows),
        "roofline": roofline(rows, peaks),
    }
    notes = {"executed": fallbacks(rows)}
    return [
        _chart(f"{identity}-{kind}", kind, figure, notes.get(kind, ()))
        for kind, figure in drawn.items()
        if figure is not None
    ]


def _chart(identity: str, kind: str, figure: go.Figure, notes: tuple[str, ...]) -> Chart:
    title, caption = CAPTIONS[kind]
    return Chart(
        id=identity,
        title=title,
        caption=caption,
        figure=script_json(str(figure.to_json())),
        legend=legend_of(figure),
        height=int(figure.layout.height),
        toggles=kind == "latencies",
        notes=notes,
    )


def _policy(scripts: Any) -> str:
    """Return the page's content security policy: no request to anywhere, no script but these."""
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("harness.report", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bound"] = _bound
    return environment


def _bound(text: str) -> str:
    """Bind numbers to the unit that follows, so that no line breaks between them."""
    return re.sub(r"(?<=\d) (?=(?:pt|%|[kMG]?B|n?s|ms|µs)\b|%)", "\u00a0", text)


def _asset(name: str) -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]
