"""``harness run SUITE``: measure, then print the verdicts and where the records are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from harness.cli.console import CONSOLE, ERRORS

if TYPE_CHECKING:
    from rich.console import Console

    from harness.events import Event
    from harness.runner import RunOptions
    from harness.store import Run

RESULTS = Path("results")


def run(
    suite: str | None = typer.Argument(None, help="A suite file, or the name of a suite that comes with the harness."),
    profile: str | None = typer.Option(None, metavar="NAME", help="Run only what this profile of the suite keeps."),
    quick: bool = typer.Option(False, "--quick", help="The same as --profile quick."),
    results: Path = typer.Option(RESULTS, help="Folder that the run's own folder is made in."),
    cache: Path | None = typer.Option(None, help="Folder of cached builds."),
    models: Path | None = typer.Option(None, help="Folder of model files of your own, known by their names."),
    resume: str | None = typer.Option(
        None, metavar="RUN", help="Finish a run that was cut short: its folder, its name in results/, or 'latest'."
    ),
    report: Path | None = typer.Option(None, metavar="FILE", help="Write the report to this file as well."),
    force: bool = typer.Option(False, "--force", help="Measure on a busy host too; the run says so."),
    isolate: bool = typer.Option(
        False, "--isolate", help="Give workers scheduling groups of their own, with more weight (root, autogroup)."
    ),
    confirm: bool = typer.Option(
        False, "--confirm", help="Time the winner and the baseline of each experiment alone afterwards."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, only the verdicts."),
    json: bool = typer.Option(False, "--json", help="Print one JSON document instead; progress goes to stderr."),
) -> None:
    """Build, check and measure every trial of a suite against its baseline."""
    from harness.errors import UserError

    told = None if quiet else ERRORS if json else CONSOLE
    options = run_options(results, cache, models, force=force, isolate=isolate)

    def begin(watch: Watch) -> Path:
        if suite is not None and resume is None:
            return _start(suite, options, watch, chosen_profile(profile, quick=quick))
        if resume is not None and suite is None:
            if profile is not None or quick:
                raise UserError("a run is finished with the profile it began with; leave --profile and --quick out")
            return _finish(resume, options, watch, told)
        raise UserError("name a suite to start a run (harness run SUITE), or one to finish (--resume RUN)")

    directory = watched(begin, told, results)
    if confirm:
        watched(lambda watch: confirm_winners(directory, options, watch), told, results)
    conclude(directory, json=json, report=report)


def watched(begin: Callable[[Watch], Path], told: Console | None, results: Path) -> Path:
    """Do a run with its progress on ``told``; Ctrl-C says how to go on and exits with 130."""
    from harness.cli.progress import Progress

    watch = Watch()
    try:
        with Progress(told) as progress:
            watch.show = progress.on_event
            return begin(watch)
    except KeyboardInterrupt:
        print(f"interrupted{watch.remedy(results)}", file=sys.stderr)
        raise typer.Exit(130) from None


def conclude(directory: Path, *, json: bool, report: Path | None) -> None:
    """Print a run's verdicts and where everything lies; exits with 1 when a baseline was not measured."""
    from harness.cli.show import print_document, print_run

    if report is not None:
        from harness.report.page import write_report
        from harness.store import read_run

        write_report(read_run(directory), report)
    if json:
        compared = print_document(directory)
    else:
        CONSOLE.print()
        compared = print_run(directory)
        CONSOLE.print(f"\nrecords:  {escape(str(directory / 'records.jsonl'))}")
        if report is not None:
            CONSOLE.print(f"report:   {escape(str(report))}")
        CONSOLE.print(f"again:    harness show {escape(str(directory))}")
    if not compared:
        raise typer.Exit(1)


class Watch:
    """Hands events on, and remembers where the run is."""

    def __init__(self) -> None:
        self.show: Callable[[Event], None] = lambda _: None
        self._directory: Path | None = None

    def __call__(self, event: Event) -> None:
        """Hand one event on."""
        from harness.events import RunStarted

        if isinstance(event, RunStarted):
            self._directory = event.directory
        self.show(event)

    def remedy(self, results: Path) -> str:
        """Say how to go on after an interrupt."""
        if self._directory is None:
            return ""
        near = results == RESULTS and self._directory.parent == results
        return f"; finish it with: harness run --resume {self._directory.name if near else self._directory}"


def run_options(
    results: Path, cache: Path | None, models: Path | None = None, *, force: bool = False, isolate: bool = False
) -> RunOptions:
    """Return what a runner needs to know; a cache of None is the user's, or for a resume the run's own."""
    from harness.runner import RunOptions

    return RunOptions(results, cache, models, "label" if force else "refuse", isolate)


def chosen_profile(profile: str | None, *, quick: bool) -> str | None:
    """Return the profile that the options name; raises UserError for two."""
    from harness.errors import UserError
    from harness.profile import QUICK

    if quick and profile not in (None, QUICK):
        raise UserError(f"--quick is --profile {QUICK}; name one profile only")
    return QUICK if quick else profile


def _start(suite: str, options: RunOptions, watch: Watch, profile: str | None) -> Path:
    """Start a new run and return its folder when it is done."""
    from harness import catalog
    from harness.suite import read_text

    path = catalog.find_suite(suite)
    return measure_text(read_text(path), path, options, watch, profile)


def measure_text(text: str, path: Path, options: RunOptions, watch: Watch, profile: str | None = None) -> Path:
    """Measure a suite given as text; ``path`` is what errors name, and where its own paths are relative to."""
    from harness import catalog
    from harness.header import SuiteSource
    from harness.plan import plan
    from harness.profile import with_profile
    from harness.runner import Runner
    from harness.suite import parse_suite

    parsed = with_profile(parse_suite(text, str(path)), profile)
    experiments = plan(parsed, catalog.catalog(options.models))
    source = SuiteSource(text, str(path.resolve()), profile)
    return Runner(options, watch).run(parsed.spec.suite, parsed.spec.seed, experiments, source)


def confirm_winners(directory: Path, options: RunOptions, watch: Watch) -> Path:
    """Time the baseline and the winner of each experiment alone; without a winner there is nothing to confirm."""
    from harness import catalog
    from harness.header import suite_of
    from harness.plan import plan
    from harness.report.rows import report_df
    from harness.report.sentences import answer
    from harness.runner import Runner
    from harness.store import read_run

    stored = read_run(directory)
    frame = report_df(stored)
    options = _as_begun(options, stored)
    runner = Runner(options, watch)
    for experiment in plan(suite_of(stored), catalog.catalog(options.models)):
        winner = answer(frame[frame["experiment"] == experiment.name]).subject
        if winner is not None:
            runner.confirm(directory, experiment, [experiment.baseline.name, winner])
    return directory


def _finish(name: str, options: RunOptions, watch: Watch, told: Console | None) -> Path:
    """Do what is missing of a run and return its folder."""
    from harness import catalog
    from harness.cli.find import find_run
    from harness.header import is_complete, suite_of
    from harness.plan import plan
    from harness.runner import Runner
    from harness.store import read_run

    directory = find_run(name, options.results)
    stored = read_run(directory)
    if is_complete(stored):
        if told is not None:
            told.print(f"{escape(stored.name)} is complete: every trial has its record")
        return directory
    suite = suite_of(stored)
    options = _as_begun(options, stored)
    return Runner(options, watch).resume(directory, plan(suite, catalog.catalog(options.models)))


def _as_begun(options: RunOptions, stored: Run) -> RunOptions:
    """Return the options with the cache and the models that the run began with."""
    kept = stored.header["options"]
    cache = options.cache or (Path(kept["cache"]) if kept["cache"] else None)
    return replace(options, cache=cache, models=Path(kept["models"]) if kept.get("models") else None)
