"""Shows a run's events: one live line in a terminal, plain lines elsewhere.

Nothing is drawn by a thread of its own: the line changes between rounds only, when nothing is timed.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape

from harness import units
from harness.events import (
    Built,
    Event,
    ExperimentStarted,
    ReplicateDone,
    ReplicateStarted,
    RoundDone,
    StageStarted,
    TrialEnded,
)
from harness.schema import Status
from harness.stats.estimate import Estimate


class Progress:
    """Prints events to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._open = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def on_event(self, event: Event) -> None:
        """Show one event."""
        match event:
            case ExperimentStarted():
                self._line(
                    f"[bold]experiment {escape(event.experiment)}[/bold] "
                    f"({event.position} of {event.experiments}, {event.trials} trials)"
                )
            case StageStarted():
                self._status(f"  {event.stage:<8} {event.trial} {event.detail}")
            case Built():
                how = "cached, no build" if event.cached else f"built in {units.seconds(event.build_s)}"
                self._line(f"  built    {escape(event.trial)}: {how}")
            case TrialEnded():
                self._ended(event)
            case ReplicateStarted():
                self._status(
                    f"  measure  replicate {event.replicate + 1} (at least {event.at_least}): "
                    f"starting {event.workers} workers"
                )
            case RoundDone():
                mark = ", last one disturbed and repeated" if event.dirty else ""
                self._status(f"  measure  replicate {event.replicate + 1}: round {event.clean} of {event.needed}{mark}")
            case ReplicateDone():
                self._replicate(event)

    def _ended(self, event: TrialEnded) -> None:
        record = event.record
        if record.status is Status.OK:
            return  # its figures come in the table
        color = "yellow" if record.status in (Status.UNSUPPORTED, Status.SKIPPED) else "red"
        self._line(f"  [{color}]{record.status}[/{color}]  {escape(record.trial.name)}: {escape(record.reason or '')}")

    def _replicate(self, event: ReplicateDone) -> None:
        widths = [e.relative_half_width for e in event.speedups.values() if isinstance(e, Estimate)]
        widest = f", widest interval ±{units.percent(max(widths))}" if widths else ""
        self._line(
            f"  measure  replicate {event.replicate} done after {units.span(event.elapsed_s)} "
            f"(budget {units.span(event.budget_s)}){widest}"
        )

    def _line(self, text: str) -> None:
        self._clear()
        self._console.print(text)

    def _status(self, text: str) -> None:
        if not self._live:
            return
        self._clear()
        self._console.print(escape(text), end="\r")
        self._open = True

    def _clear(self) -> None:
        if self._open:
            self._console.print(" " * (self._console.width - 1), end="\r")
            self._open = False
