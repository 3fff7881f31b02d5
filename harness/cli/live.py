"""Draws the live table. Only an event makes it draw, so nothing is drawn while a block is timed."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.cli.board import Board, Row, ending, heading, kept
from harness.events import Event, ExperimentStarted, Resumed, RoundDone, TrialEnded
from harness.schema import Status

LEAST_INTERVAL_S = 0.25  # between two drawings of mere rounds
MARGIN_LINES = 6  # of the terminal's height: headings, footer, a note, the prompt


class LiveTable:
    """One table an experiment, drawn in place; reasons stay above it as lines."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began_s = clock()
        self._board: Board | None = None
        self._live: Live | None = None
        self._drawn_s = float("-inf")

    def on_event(self, event: Event) -> None:
        """Take in one event and draw, but rounds not more often than four times a second."""
        now = self._clock()
        if isinstance(event, ExperimentStarted):
            self._begin(event)
        if self._board is None or self._live is None:
            return
        self._board.take(event, now)
        if isinstance(event, TrialEnded) and event.record.status is not Status.OK:
            self._live.console.print(ending(event))
        if isinstance(event, Resumed):
            self._live.console.print(f"  {escape(kept(event))}")
        if not isinstance(event, RoundDone) or now - self._drawn_s >= LEAST_INTERVAL_S:
            self._draw(now)

    def close(self, *, finished: bool) -> None:
        """End the table; it stays where a run was cut short, and makes room for the verdicts where not."""
        if self._live is None or self._board is None:
            return
        self._draw(self._clock())
        self._live.transient = finished
        self._live.stop()
        self._live = None

    def _begin(self, event: ExperimentStarted) -> None:
        self.close(finished=False)
        self._console.print(heading(event))
        self._board = Board(event, self._began_s)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
        )
        self._live.start()

    def _draw(self, now: float) -> None:
        assert self._board is not None
        assert self._live is not None
        self._live.update(render(self._board, now, self._console.height - MARGIN_LINES), refresh=True)
        self._drawn_s = now


def render(board: Board, now_s: float, room: int) -> RenderableType:
    """Return the table and its footer; of more than ``room`` rows those where something happens come first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, least in (("trial", 12), ("state", 24), ("speed-up so far [95 %]", 22)):  # wide enough not to jump
        table.add_column(name, overflow="ellipsis", no_wrap=True, min_width=least)
    chosen = _chosen(board.rows, max(room, 1))
    for name, row in board.rows.items():
        if name in chosen:
            table.add_row(escape(name), row.state, escape(row.speedup))
    hidden = len(board.rows) - len(chosen)
    lines: list[RenderableType] = [table]
    if hidden:
        lines.append(Text(f"… and {hidden} more", style="dim"))
    lines += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in board.footer(now_s)]
    return Group(*lines)


def _chosen(rows: dict[str, Row], room: int) -> set[str]:
    by_interest = sorted(rows, key=lambda name: (not rows[name].active, rows[name].ended))
    return set(by_interest[:room])
