"""The command line: one module a command. The only place that prints, reads arguments or exits."""

from __future__ import annotations

import sys
import traceback

import typer

from harness import __version__
from harness.cli import doctor, init, list_, plan, report, run, schema, selftest, show, try_
from harness.cli.interrupts import kept_interrupts
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    help="Measure which optimization of a deep-learning model to ship, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("try")(try_.try_)
app.command("plan")(plan.plan)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("init")(init.init)
app.command("list")(list_.list_)
app.command("schema")(schema.schema)
app.command("selftest")(selftest.selftest)
app.command("doctor")(doctor.doctor)


def _version(value: bool) -> None:
    if value:
        print(f"optimization-harness {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line and exit: 0 fine, 1 a gate failed, 2 the user's input, 3 the harness itself."""
    try:
        with kept_interrupts():
            app()
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; finished records are kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception:  # noqa: BLE001 (the last line of defense: exit code 3 is the harness's own fault)
        traceback.print_exc()
        print("error: this is a fault of the harness itself; please report the lines above", file=sys.stderr)
        sys.exit(3)
