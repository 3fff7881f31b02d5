"""``harness show RUN --roofline``: how near each trial came to what its host can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.console import CONSOLE

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS = ("variant", "operations", "bytes moved", "op/byte", "attained", "limit", "share", "bound by")
_WORDS = ("variant", "bound by")


def print_roofline(directory: Path) -> None:
    """Print one small table an experiment, and why a share is missing."""
    from harness.frame import records_df
    from harness.store import read_run

    stored = read_run(directory)
    frame = records_df(stored)
    CONSOLE.print(f"[bold]{escape(stored.name)}[/bold]")
    for experiment in stored.header["experiments"]:
        rows = frame[frame["experiment"] == experiment["name"]] if len(frame) else frame
        rows = rows[rows["status"] == "ok"] if len(rows) else rows
        if not len(rows):
            continue
        CONSOLE.print(f"\n[bold]{escape(experiment['name'])}[/bold], one call of batch {rows.iloc[0]['batch_size']}")
        table = Table(header_style="bold", pad_edge=False, box=None)
        for heading in _HEADINGS:
            table.add_column(
                heading, justify="left" if heading in ("variant", "bound by") else "right", overflow="fold"
            )
        for _, row in rows.iterrows():
            table.add_row(*_cells(row))
        CONSOLE.print(table)
        for reason, names in _reasons(rows).items():
            who = "" if len(names) == len(rows) else f"{', '.join(names)}: "
            CONSOLE.print(f"[dim]share: {escape(who)}{escape(reason)}[/dim]")


def _cells(row: pd.Series[Any]) -> list[str]:
    from harness.peaks import operations

    unit = operations(_shown(row["roofline_format"], str, "float"))
    return [
        escape(row["trial"]),
        _shown(row["flops"], lambda v: units.rate(v, "FLOP")),
        _shown(row["bytes_moved"], units.size),
        _shown(row["arithmetic_intensity"], lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.3g}"),
        _shown(row["attained_flops_per_s"], lambda v: units.rate(v, unit)),
        _shown(row["roofline_limit_flops_per_s"], lambda v: f"{units.rate(v, unit)} {row['roofline_format']}"),
        _shown(row["roofline_share"], lambda v: units.percent(v, 0 if v >= 0.1 else 1)),
        _shown(row["bound_by"], str),
    ]


def _reasons(rows: pd.DataFrame) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        reason = row["missing"].get("roofline_share")
        if reason:
            found.setdefault(reason, []).append(row["trial"])
    return found


def _shown(value: Any, form: Any, blank: str = "-") -> str:
    return blank if value is None or value != value else str(form(value))
