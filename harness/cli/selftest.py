"""``harness selftest``: exit 1 when this host, or the harness on it, cannot be trusted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.console import CONSOLE


def selftest(
    keep: Path | None = typer.Option(None, help="Keep the records in this folder."),
) -> None:
    """Find known slow-downs and known faults on this host; about a minute and a half."""
    from harness.cli.progress import Progress
    from harness.environment import describe, host_fingerprint
    from harness.selftest import selftest as run

    with tempfile.TemporaryDirectory(prefix="harness-selftest-") as temporary, Progress(CONSOLE) as progress:
        checks = run(keep or Path(temporary), progress.on_event)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("check", "expected", "seen", ""):
        table.add_column(name, overflow="fold")
    for check in checks:
        mark = "[green]passed[/green]" if check.passed else "[red]FAILED[/red]"
        table.add_row(check.name, check.expected, escape(check.seen), mark)
    CONSOLE.print(f"\n[bold]selftest[/bold] on {escape(describe(host_fingerprint()))}")
    CONSOLE.print(table)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        CONSOLE.print(
            f"[red]{len(failed)} of {len(checks)} checks failed ({', '.join(failed)}): "
            "do not trust figures from this host now; close other programs and repeat[/red]"
        )
        raise typer.Exit(1)
    CONSOLE.print(
        f"[green]all {len(checks)} checks passed: figures from this host can be trusted within their intervals[/green]"
    )
