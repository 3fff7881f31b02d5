"""``harness show RUN``: the verdicts of a run as a table."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.console import CONSOLE
from harness.cli.find import find_run

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
    for name, justify in _HEADINGS:
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    measured = rows[rows["status"] == "ok"]
    for _, row in measured.iterrows():
        table.add_row(*_cells(row))
    CONSOLE.print(table)
    for _, row in rows[rows["status"] != "ok"].iterrows():
        log = "" if _absent(row["log"]) else f" (log: {row['log']})"
        CONSOLE.print(
            f"[yellow]{row['status']}[/yellow] {escape(row['trial'])}: {escape(str(row['reason']))}{escape(log)}"
        )
    _print_notes(measured)
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
        _optional(row["latency_p50_s"], units.seconds),
        _optional(row["latency_p95_s"], units.seconds),
        _optional(row["inference_over_floor_bytes"], units.size),
        _optional(row["artifact_bytes"], units.size),
        _optional(row["build_s"], units.seconds) + ("*" if row["build_cached"] else ""),
    ]


def _quality(row: pd.Series[Any]) -> str:
    if _absent(row["quality"]):
        return "-"
    return f"{100 * row['quality']:.1f} % [{100 * row['quality_low']:.1f}, {100 * row['quality_high']:.1f}]"


def _change(row: pd.Series[Any]) -> str:
    if _absent(row["quality_change"]):
        return "-"
    verdict = row["quality_verdict"]
    text = f"{100 * row['quality_change']:+.1f} pt {_colored(verdict)}"
    if not _absent(row["quality_n_needed"]):
        text += f" (n ≈ {row['quality_n_needed']:.0f})"
    return text


def _speed(row: pd.Series[Any], name: str) -> str:
    if _absent(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = f"[{units.ratio(low)[:-1]}, {units.ratio(high)[:-1]}]"
    return f"{units.ratio(row[name])} {interval} {_colored(row[f'{name}_verdict'])}"


def _colored(verdict: str) -> str:
    return f"[{COLORS[verdict]}]{verdict}[/{COLORS[verdict]}]"


def _optional(value: Any, show_: Any) -> str:
    return "-" if _absent(value) else str(show_(value))


def _absent(value: Any) -> bool:
    return value is None or value != value  # NaN is the only value that differs from itself


def _print_notes(measured: pd.DataFrame) -> None:
    if not len(measured):
        return
    first = measured.iloc[0]
    share = first["dirty_rounds"] / first["rounds"] if first["rounds"] else 0.0
    judged = measured[measured["quality_n"].notna()]
    count = f" (n = {judged.iloc[0]['quality_n']:.0f})" if len(judged) else ""
    cached = "; * build from the cache" if measured["build_cached"].astype(bool).any() else ""
    notes = [
        f"{first['replicates']:.0f} replicates, {first['rounds']:.0f} rounds ({100 * share:.0f} % disturbed from "
        f"outside), stopped by {first['stopped_by']}; margin {100 * first['margin']:g} % speed, "
        f"{100 * first['quality_margin']:g} pt quality{count}; "
        f"memory is the peak over the runtime's floor{cached}",
        *_pass_notes(measured),
        *_open_notes(measured),
        *_alone_notes(measured),
        _disturbance_note(first, measured),
        _quality_note(measured),
        _floor_note(measured),
        *_use_notes(measured),
        _energy_note(measured),
    ]
    for note in filter(None, notes):
        CONSOLE.print(f"[dim]{escape(note)}[/dim]")


def _pass_notes(measured: pd.DataFrame) -> list[str]:
    """Say what the passes changed, as they counted it themselves."""
    notes = []
    for _, row in measured.iterrows():
        details = [f"{step['name']} ({step['detail']})" for step in row["build_steps"] or () if step["detail"]]
        notes += [f"{row['trial']}: {', '.join(details)}"] if details else []
    return notes


def _open_notes(measured: pd.DataFrame) -> list[str]:
    """Say why a comparison is inconclusive, and why a percentile is missing."""
    notes = [
        f"{row['trial']}: {name} inconclusive, {row[f'{prefix}_reason']}"
        for prefix, name in (("speedup", "speed-up"), ("technique_speedup", "over own engine"))
        for _, row in measured.iterrows()
        if row[f"{prefix}_verdict"] == "inconclusive" and not _absent(row[f"{prefix}_reason"])
    ]
    absent = [row["missing"]["latency_p95_s"] for _, row in measured.iterrows() if "latency_p95_s" in row["missing"]]
    return notes + ([f"no p95 for {len(absent)} rows: {absent[0]}"] if absent else [])


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


def _quality_note(measured: pd.DataFrame) -> str:
    from harness.frame import AGREEMENT_NOTES

    judged = measured[measured["quality_metric"].notna()]
    if not len(judged):
        return f"quality: unmeasured ({measured.iloc[0]['missing'].get('quality', 'not reached')})"
    first = judged.iloc[0]
    note = AGREEMENT_NOTES.get(first["quality_data"], "")
    return f"quality: {first['quality_metric']}{f', {note}' if note else ''}"


def _alone_notes(measured: pd.DataFrame) -> list[str]:
    """Say what the trials took that were timed alone."""
    notes = []
    for _, row in measured[measured["alone_p50_s"].notna()].iterrows():
        low, high = units.seconds(row["alone_p50_low_s"]), units.seconds(row["alone_p50_high_s"])
        note = f"alone: {row['trial']} p50 {units.seconds(row['alone_p50_s'])} [{low}, {high}]"
        if not _absent(row["alone_speedup"]):
            interval = f"[{units.ratio(row['alone_speedup_low'])[:-1]}, {units.ratio(row['alone_speedup_high'])[:-1]}]"
            note += f", {units.ratio(row['alone_speedup'])} {interval}"
        notes.append(note)
    return notes


def _disturbance_note(first: pd.Series[Any], measured: pd.DataFrame) -> str:
    if _absent(first["other_cpu_share"]):
        return ""
    note = (
        f"of the measured cores' time other programs used {units.percent(first['other_cpu_share'])} and the "
        f"hypervisor took {units.percent(first['steal_share'])}"
    )
    compared = measured[measured["speedup"].notna()]
    if len(compared) and not compared["speedup_clean"].astype(bool).all():
        note += "; clean rounds did not suffice, so all count and intervals are widened by what that could have added"
    return note


def _use_notes(measured: pd.DataFrame) -> list[str]:
    """Say what was used of the CPU, and which trials use far less than asked for, or grow."""
    known = measured[measured["utilization"].notna()]
    if not len(known):
        return [f"CPU use: unmeasured ({measured['missing'].iloc[0].get('utilization', 'not reached')})"]
    threads = int(measured["threads"].iloc[0])
    values, disturbed = known["utilization"].astype(float), int(known["utilization_disturbed"].astype(bool).sum())
    notes = [
        f"CPU use: {_range(f'{values.min():.2f}', f'{values.max():.2f}')} of {threads} core{'s' if threads > 1 else ''}"
        + (f" ({disturbed} of {len(known)} disturbed from outside)" if disturbed else "")
    ]
    for column in ("utilization_note", "leak_note"):
        noted = measured[measured[column].notna()]
        notes += [f"{row['trial']}: {row[column]}" for _, row in noted.iterrows()]
    return notes


def _energy_note(measured: pd.DataFrame) -> str:
    known = measured[measured["energy_j"].notna()]
    if not len(known):
        return f"energy: unmeasured ({measured['missing'].iloc[0].get('energy_j', 'not reached')})"
    first, values = known.iloc[0], known["energy_j"].astype(float)
    span = _range(units.energy(float(values.min())), units.energy(float(values.max())))
    return f"energy: {span} an example ({first['energy_source']}: {first['energy_scope']})"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _floor_note(measured: pd.DataFrame) -> str:
    known = measured["noise_floor"].dropna()
    if len(known):
        return f"noise floor of this host: {units.percent(float(known.max()))}; no verdict claims a smaller difference"
    reasons = [missing["noise_floor"] for missing in measured["missing"] if "noise_floor" in missing]
    return f"noise floor: {reasons[-1]}" if reasons else ""
