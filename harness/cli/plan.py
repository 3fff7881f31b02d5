"""``harness plan SUITE``: what a run would do, what it cannot do here, and about how long it takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from harness import units
from harness.cli.console import CONSOLE


def plan(
    suite: str = typer.Argument(help="A suite file, or the name of a suite that comes with the harness."),
    profile: str | None = typer.Option(None, metavar="NAME", help="Show only what this profile of the suite keeps."),
    quick: bool = typer.Option(False, "--quick", help="The same as --profile quick."),
    cache: Path | None = typer.Option(None, help="Folder of cached builds."),
    models: Path | None = typer.Option(None, help="Folder of model files of your own, known by their names."),
) -> None:
    """Show the experiments and trials of a suite without running anything."""
    from harness import catalog
    from harness.cache import Cache, default_root
    from harness.cli.run import chosen_profile
    from harness.estimate_time import estimate
    from harness.plan import plan as make_plan
    from harness.profile import with_profile
    from harness.suite import read_suite

    chosen = chosen_profile(profile, quick=quick)
    experiments = make_plan(with_profile(read_suite(catalog.find_suite(suite)), chosen), catalog.catalog(models))
    store = Cache(cache or default_root())
    least = most = 0.0
    for experiment in experiments:
        guess = estimate(experiment, store)
        first = experiment.baseline
        CONSOLE.print(
            f"[bold]{escape(experiment.name)}[/bold]: {experiment.model}, {first.workload}, "
            f"batch {first.batch_size}, {first.threads} thread{'s' if first.threads > 1 else ''}, {first.device}"
        )
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("trial", "role", "backend", "passes", "state"):
            table.add_column(name, overflow="fold")
        for trial in experiment.trials:
            state = f"[yellow]unavailable: {escape(trial.unsupported)}[/yellow]" if trial.unsupported else ""
            if not state:
                state = "artifact cached" if trial.name in guess.cached else "to be built"
                state += ", unless it is in the cache" if trial.source else ""
            passes = " + ".join(map(str, trial.passes)) or "-"
            table.add_row(trial.name, trial.role, trial.backend, escape(passes), state)
        CONSOLE.print(table)
        CONSOLE.print(
            f"about {units.span(guess.build_s)} of building, {units.span(guess.measure_least_s)} to "
            f"{units.span(guess.measure_most_s)} of measuring\n"
        )
        least += guess.build_s + guess.measure_least_s
        most += guess.build_s + guess.measure_most_s
    CONSOLE.print(
        f"in all about {units.span(least)} to {units.span(most)}; "
        f"start it with: harness run {escape(shlex.quote(suite))}{f' --profile {escape(chosen)}' if chosen else ''}"
    )
