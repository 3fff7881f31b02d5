"""``harness report RUN``: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer


def report(
    run: str = typer.Argument("latest", help="A run's folder, its name in results/, or 'latest'."),
    results: Path = typer.Option(Path("results"), help="Folder of runs."),
    output: Path | None = typer.Option(None, help="The page's file; reports/<run>.html when not given."),
) -> None:
    """Write a run's answer, charts and table as one HTML file that needs no network, and print its path."""
    from harness.cli.find import find_run
    from harness.report.page import write_report
    from harness.store import read_run

    stored = read_run(find_run(run, results))
    print(write_report(stored, output or Path("reports") / f"{stored.name}.html"))
