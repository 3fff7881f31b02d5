"""``harness run SUITE``: measure, then print the verdicts and where the records are."""

from __future__ import annotations

from pathlib import Path

import typer

from harness.cli.console import CONSOLE


def run(
    suite: str = typer.Argument(help="A suite file, or the name of a suite that comes with the harness."),
    results: Path = typer.Option(Path("results"), help="Folder that the run's own folder is made in."),
    cache: Path | None = typer.Option(None, help="Folder of cached builds."),
) -> None:
    """Build, check and measure every trial of a suite against its baseline."""
    from harness import catalog
    from harness.cache import default_root
    from harness.cli.progress import Progress
    from harness.cli.show import print_run
    from harness.plan import plan
    from harness.runner import Runner, RunOptions
    from harness.suite import read_suite

    parsed = read_suite(catalog.find_suite(suite))
    experiments = plan(parsed, catalog.catalog())
    with Progress(CONSOLE) as progress:
        runner = Runner(RunOptions(results, cache or default_root()), progress.on_event)
        directory = runner.run(parsed.spec.suite, parsed.spec.seed, experiments)
    CONSOLE.print()
    compared = print_run(directory)
    CONSOLE.print(f"\nrecords:  {directory / 'records.jsonl'}")
    CONSOLE.print(f"again:    harness show {directory}")
    if not compared:
        raise typer.Exit(1)
