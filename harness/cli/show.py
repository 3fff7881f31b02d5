"""``harness show RUN``: the verdicts of a run as a table."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.cells import absent, optional
from harness.cli.console import CONSOLE
from harness.cli.find import find_run
from harness.cli.notes import print_executed, print_notes, print_reasons

if TYPE_CHECKING:
    import pandas as pd

    from harness.store import Run

COLORS = {
    "faster": "green", "slower": "red", "same": "cyan", "inconclusive": "yellow",
    "kept": "green", "lost": "red",
}  # fmt: skip

LOADGEN_COLORS = {"VALID": "green", "INVALID": "red", "": "yellow"}


def show(
    run: str = typer.Argument("latest", help="A run's folder, its name in results/, or 'latest'."),
    results: Path = typer.Option(Path("results"), help="Folder of runs."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead of the table."),
    roofline: bool = typer.Option(False, "--roofline", help="Print how near each trial came to the host's limit."),
) -> None:
    """Print a run's quality, speed, memory and size with intervals and verdicts."""
    directory = find_run(run, results)
    if json:
        print_document(directory)
    elif roofline:
        from harness.cli.roofline import print_roofline

        print_roofline(directory)
    else:
        print_run(directory)


def print_document(directory: Path) -> bool:
    """Print one run as JSON; returns whether every experiment's baseline was measured."""
    from harness.cli.document import document
    from harness.store import read_run
    from harness.verdicts import run_df

    stored = read_run(directory)
    shown = document(stored, run_df(stored))
    print(dumps(shown, ensure_ascii=False, allow_nan=False, indent=1))
    measured = {r["experiment"] for r in shown["rows"] if r["role"] == "baseline" and r["status"] == "ok"}
    return bool(shown["complete"]) and measured == {e["name"] for e in shown["experiments"]}


def print_run(directory: Path) -> bool:
    """Print one run; returns whether every experiment's baseline was measured."""
    from harness.environment import describe
    from harness.store import read_run
    from harness.verdicts import run_df

    stored = read_run(directory)
    frame = run_df(stored)
    header = stored.header
    CONSOLE.print(
        f"[bold]{escape(stored.name)}[/bold] on {escape(describe(header['host']))} (host {header['host']['id']})"
    )
    compared = len(frame) > 0
    for experiment in header["experiments"]:
        rows = frame[frame["experiment"] == experiment["name"]] if len(frame) else frame
        missing = len(experiment["trials"]) - len(rows)
        if len(rows):
            compared &= _print_experiment(experiment, rows)
        if missing:
            compared = False
            CONSOLE.print(
                f"[yellow]{experiment['name']}: {missing} trials have no record: the run was cut short[/yellow]"
            )
    _print_useful_share(stored)
    return compared


def _print_useful_share(stored: Run) -> None:
    from harness.useful import useful_share

    useful = useful_share(stored)
    if useful is not None:
        CONSOLE.print(f"[dim]timed calls: {useful.sentence()}[/dim]")


def _print_experiment(experiment: dict[str, Any], rows: pd.DataFrame) -> bool:
    first = rows.iloc[0]
    threads = f"{first['threads']} thread{'s' if first['threads'] > 1 else ''}"
    CONSOLE.print(
        f"\n[bold]{escape(experiment['name'])}[/bold]: {first['model']}, {first['workload']}, "
        f"batch {first['batch_size']}, {threads}, {first['device']}; "
        f"compared with {escape(experiment['baseline'])}"
    )
    table = Table(header_style="bold", pad_edge=False, box=None)
    measured = rows[rows["status"] == "ok"]
    for name, justify in _HEADINGS:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for _, row in measured.iterrows():
        table.add_row(*_cells(row))
    CONSOLE.print(table)
    for _, row in rows[rows["status"] != "ok"].iterrows():
        log = "" if absent(row["log"]) else f" (log: {row['log']})"
        CONSOLE.print(
            f"[yellow]{row['status']}[/yellow] {escape(row['trial'])}: {escape(str(row['reason']))}{escape(log)}"
        )
    print_executed(measured)
    print_reasons(measured)
    print_notes(measured)
    _print_scenarios(rows)
    return bool((measured["role"] == "baseline").any())


_HEADINGS = (
    ("variant", "left"),
    ("quality [95 %]", "left"),
    ("change", "left"),
    ("speed-up [95 %]", "left"),
    ("over own engine", "left"),
    ("p50", "right"),
    ("p95", "right"),
    ("memory", "right"),
    ("size", "right"),
    ("build", "right"),
)


def _cells(row: pd.Series[Any]) -> list[str]:
    return [
        escape(row["trial"]) + (" (baseline)" if row["role"] == "baseline" else ""),
        _quality(row),
        _change(row),
        _speed(row, "speedup"),
        _speed(row, "technique_speedup"),
        optional(row["latency_p50_s"], units.seconds),
        optional(row["latency_p95_s"], units.seconds),
        optional(row["inference_over_floor_bytes"], units.size),
        optional(row["artifact_bytes"], units.size),
        optional(row["build_s"], units.seconds) + ("*" if row["build_cached"] else ""),
    ]


def _quality(row: pd.Series[Any]) -> str:
    if absent(row["quality"]):
        return "-"
    return f"{100 * row['quality']:.1f} % [{100 * row['quality_low']:.1f}, {100 * row['quality_high']:.1f}]"


def _change(row: pd.Series[Any]) -> str:
    if absent(row["quality_change"]):
        return "-"
    verdict = row["quality_verdict"]
    text = f"{100 * row['quality_change']:+.1f} pt {_colored(verdict)}"
    if not absent(row["quality_n_needed"]):
        text += f" (n ≈ {row['quality_n_needed']:.0f})"
    return text


def _speed(row: pd.Series[Any], name: str) -> str:
    if absent(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = f"[{units.ratio(low)[:-1]}, {units.ratio(high)[:-1]}]"
    return f"{units.ratio(row[name])} {interval} {_colored(row[f'{name}_verdict'])}"


def _colored(verdict: str) -> str:
    return f"[{COLORS[verdict]}]{verdict}[/{COLORS[verdict]}]"


def _print_scenarios(rows: pd.DataFrame) -> None:
    """Print what LoadGen said, where the suite asked for a load test."""
    from harness.report.scenarios import scenarios

    shown = scenarios(rows)
    if shown is None:
        return
    table = Table(header_style="bold", pad_edge=False, box=None)
    table.add_column("under load", overflow="fold")
    for name in (shown.metric, *(["early stopping"] if shown.early else []), "floor", "queries"):
        table.add_column(name, justify="right")
    table.add_column("LoadGen")
    for row in shown.rows:
        verdict = f"[{LOADGEN_COLORS[row.verdict]}]{row.verdict or 'not tested'}[/]"
        reason = f" {escape(row.reason)}" if row.reason else ""
        early = [row.early] if shown.early else []
        table.add_row(escape(row.trial), row.value, *early, row.floor, row.queries, verdict + reason)
    CONSOLE.print(table)
    CONSOLE.print(f"[dim]{escape(shown.note)}[/dim]")
