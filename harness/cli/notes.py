"""What stands below the table of an experiment: why something is not faster, and how it was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.cells import absent, optional
from harness.cli.console import CONSOLE

if TYPE_CHECKING:
    import pandas as pd

UNDECIDED = "undecided"


def print_executed(measured: pd.DataFrame) -> None:
    """Print what each trial really ran, where a runtime told; yellow where nothing ran in the format asked for."""
    from harness.execution import what_ran

    told = measured[measured["execution_source"].notna()]
    if not len(told):
        return
    table = Table(header_style="bold", pad_edge=False, box=None)
    for name in ("what ran", "asked for", "computed in", "layers", "outside operators", "told by"):
        table.add_column(name, overflow="fold")
    for _, row in told.iterrows():
        asked, formats = row["precision_requested"], row["executed_formats"] or {}
        lost = bool(formats) and not absent(asked) and not asked.endswith(" weights") and asked not in formats
        ran = escape(what_ran(row) or "-")
        layers = "-" if absent(row["layers_total"]) else f"{row['layers_changed']:.0f} of {row['layers_total']:.0f}"
        table.add_row(
            escape(row["trial"]),
            optional(asked, escape),
            f"[yellow]{ran}[/yellow]" if lost else ran,
            layers,
            optional(row["outside_share"], lambda share: units.percent(share, 0)),
            escape(row["execution_source"]),
        )
    CONSOLE.print(table)


def print_reasons(measured: pd.DataFrame) -> None:
    """Print why each variant that is not faster is not; what the data do not decide stands among the notes."""
    from harness.report.reasons import reasons

    shown = [reason for reason in reasons(measured) if reason.rule != UNDECIDED]
    if shown:
        CONSOLE.print("[bold]why not faster[/bold]")
    for reason in shown:
        CONSOLE.print(f"  {escape(reason.subject)}: {escape(reason.sentence)}")


def print_notes(measured: pd.DataFrame) -> None:
    """Print how the trials were measured, what their passes did and what stays open."""
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
        *_partial_notes(measured),
        *_pass_notes(measured),
        *_open_notes(measured),
        *_alone_notes(measured),
        _disturbance_note(first, measured),
        _quality_note(measured),
        _flip_note(measured),
        _class_note(measured),
        _execution_note(measured),
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


def _partial_notes(measured: pd.DataFrame) -> list[str]:
    """Say plainly which passes left layers as they were."""
    partial = measured[measured["partial_note"].notna()]
    return [f"partial: {row['trial']}: {row['partial_note']}" for _, row in partial.iterrows()]


def _flip_note(measured: pd.DataFrame) -> str:
    """Say how many answers changed, and whether the right and wrong ones among them balance."""
    from harness.report.rows import p_value

    flipped = measured[measured["prediction_flips"].astype(float) > 0]
    parts = [
        f"{row['trial']} {units.percent(row['prediction_flips'])}"
        + ("" if absent(row["quality_mcnemar_p"]) else f" ({p_value(row['quality_mcnemar_p'])})")
        for _, row in flipped.iterrows()
    ]
    return f"other answers than the baseline (exact McNemar): {', '.join(parts)}" if parts else ""


def _class_note(measured: pd.DataFrame) -> str:
    """Name the class that lost most, where it lost more than the margin."""
    lost = measured[measured["worst_class_change"].astype(float) < -measured["quality_margin"].astype(float)]
    parts = [
        f"{row['trial']} class {row['worst_class']:.0f} {100 * row['worst_class_change']:+.1f} pt "
        f"(n = {row['worst_class_n']:.0f})"
        for _, row in lost.iterrows()
    ]
    return f"worst class: {', '.join(parts)}" if parts else ""


def _execution_note(measured: pd.DataFrame) -> str:
    """Say what the column on what ran is of, or why there is none."""
    told = measured[measured["execution_source"].notna()]
    if not len(told):
        return f"what ran: {measured['missing'].iloc[0].get('execution_source', 'not reached')}"
    return (
        "what ran: number formats by their share of the computing operators' time and conversions by theirs of all "
        "operators', outside operators of a call's; watched in a block of its own"
    )


def _open_notes(measured: pd.DataFrame) -> list[str]:
    """Say why a comparison is inconclusive, and why a percentile is missing."""
    notes = [
        f"{row['trial']}: {name} inconclusive, {row[f'{prefix}_reason']}"
        for prefix, name in (("speedup", "speed-up"), ("technique_speedup", "over own engine"))
        for _, row in measured.iterrows()
        if row[f"{prefix}_verdict"] == "inconclusive" and not absent(row[f"{prefix}_reason"])
    ]
    tails = [row["missing"]["latency_p95_s"] for _, row in measured.iterrows() if "latency_p95_s" in row["missing"]]
    return notes + ([f"no p95 for {len(tails)} rows: {tails[0]}"] if tails else [])


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
        if not absent(row["alone_speedup"]):
            interval = f"[{units.ratio(row['alone_speedup_low'])[:-1]}, {units.ratio(row['alone_speedup_high'])[:-1]}]"
            note += f", {units.ratio(row['alone_speedup'])} {interval}"
        notes.append(note)
    return notes


def _disturbance_note(first: pd.Series[Any], measured: pd.DataFrame) -> str:
    if absent(first["other_cpu_share"]):
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
