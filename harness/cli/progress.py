"""Shows a run's events: a live table in a terminal, one line a fact elsewhere, nothing when asked to be quiet.

Nothing is drawn by a thread of its own: what is shown changes with an event only, when nothing is timed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from harness import units
from harness.cli.board import ending, heading, kept
from harness.cli.live import LiveTable
from harness.events import Built, BusyHost, Event, ExperimentStarted, ReplicateDone, Resumed, TrialEnded
from harness.schema import Status
from harness.stats.estimate import Estimate


class _Shown(Protocol):
    def on_event(self, event: Event) -> None:
        """Show one event."""

    def close(self, *, finished: bool) -> None:
        """Leave the terminal as it shall stay."""


class Progress:
    """Shows events on a console; on none when it is None."""

    def __init__(self, console: Console | None) -> None:
        self._shown: _Shown
        if console is None:
            self._shown = _Nothing()
        else:
            self._shown = LiveTable(console) if console.is_terminal else PlainLines(console)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close(finished=kind is None)

    def on_event(self, event: Event) -> None:
        """Show one event."""
        self._shown.on_event(event)


class _Nothing:
    def on_event(self, event: Event) -> None:
        pass

    def close(self, *, finished: bool) -> None:
        pass


class PlainLines:
    """Prints one line a fact, without control codes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def close(self, *, finished: bool) -> None:
        """Nothing is open."""

    def on_event(self, event: Event) -> None:
        """Print what lasts; what passes is not for a file."""
        match event:
            case BusyHost():
                self._line(f"[yellow]{escape(event.text)}; the run says so[/yellow]")
            case ExperimentStarted():
                self._line(heading(event))
            case Resumed():
                self._line(f"  resumed  {escape(kept(event))}")
            case Built():
                how = "cached, no build" if event.cached else f"built in {units.seconds(event.build_s)}"
                self._line(f"  built    {escape(event.trial)}: {how}")
            case TrialEnded() if event.record.status is not Status.OK:  # the others' figures come in the table
                self._line(ending(event))
            case ReplicateDone():
                widths = [e.relative_half_width for e in event.speedups.values() if isinstance(e, Estimate)]
                widest = f", widest interval ±{units.percent(max(widths))}" if widths else ""
                self._line(
                    f"  measure  replicate {event.replicate} done after {units.span(event.elapsed_s)} "
                    f"(budget {units.span(event.budget_s)}){widest}"
                )
            case _:
                pass

    def _line(self, text: str) -> None:
        self._console.print(text)
