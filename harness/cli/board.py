"""What a live table shows of the experiment under way: events in, rows and a footer out. Draws nothing itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.markup import escape

from harness import units
from harness.events import (
    Built,
    Event,
    ExperimentStarted,
    ReplicateDone,
    ReplicateStarted,
    Resumed,
    RoundDone,
    StageStarted,
    TrialEnded,
    TrialExamined,
)
from harness.schema import Status
from harness.stats.estimate import Estimate, NotEnough

WAITING, READY, MEASURING = "waiting", "ready", "measuring"
_WORK = {"build": "building", "examine": "examining", "loadgen": "LoadGen"}


def heading(event: ExperimentStarted) -> str:
    """Return the line that begins an experiment."""
    place = f"{event.position} of {event.experiments}, {len(event.trials)} trials"
    return f"[bold]experiment {escape(event.experiment)}[/bold] ({place})"


def kept(event: Resumed) -> str:
    """Say what an earlier part of the run did already."""
    parts = (
        (len(event.ended), "trial has its record", "trials have their records"),
        (len(event.examined), "is examined", "are examined"),
        (event.replicates, "replicate is measured", "replicates are measured"),
    )
    said = [f"{n} {one if n == 1 else many}" for n, one, many in parts if n]
    return f"{', '.join(said)} already"


def ending(event: TrialEnded) -> str:
    """Return the line of a trial that was not measured, with its reason."""
    record = event.record
    return f"  {colored(record.status)}  {escape(record.trial.name)}: {escape(record.reason or '')}"


def colored(status: Status) -> str:
    """Return a status in its color."""
    color = {Status.OK: "green", Status.UNSUPPORTED: "yellow", Status.SKIPPED: "yellow"}.get(status, "red")
    return f"[{color}]{status}[/{color}]"


@dataclass
class Row:
    """One trial: its state (with markup) and its speed-up so far."""

    state: str = WAITING
    speedup: str = "-"
    ended: bool = False

    @property
    def active(self) -> bool:
        """Whether something happens to it now."""
        return not self.ended and self.state not in (WAITING, READY)


class Board:
    """The experiment under way. Times are seconds of the caller's monotonic clock."""

    def __init__(self, event: ExperimentStarted, began_s: float) -> None:
        self.rows = {name: Row() for name in event.trials}
        self.rows[event.trials[0]].speedup = "baseline"
        self._place = f"experiment {event.position} of {event.experiments}"
        self._more_experiments = event.position < event.experiments
        self._began_s = began_s
        self._started: ReplicateStarted | None = None
        self._started_s = 0.0
        self._round: RoundDone | None = None
        self._done: ReplicateDone | None = None
        self._rounds = self._dirty = 0

    def take(self, event: Event, now_s: float) -> None:
        """Take in one event."""
        match event:
            case Resumed():
                for name, status in event.ended.items():
                    self.rows[name].state, self.rows[name].ended = colored(status), True
                for name in event.examined:
                    self.rows[name].state = READY
            case StageStarted():
                self.rows[event.trial].state = escape(f"{_WORK[event.stage]} {event.detail}".rstrip())
            case Built():
                self.rows[event.trial].state = "cached" if event.cached else f"built in {units.seconds(event.build_s)}"
            case TrialExamined():
                self.rows[event.trial].state = READY
            case TrialEnded():
                row = self.rows[event.record.trial.name]
                row.state, row.ended = colored(event.record.status), True
            case ReplicateStarted():
                self._start_replicate(event, now_s)
            case RoundDone():
                self._round = event
                self._rounds += 1
                self._dirty += event.dirty
            case ReplicateDone():
                self._done, self._started, self._round = event, None, None
                for name, speedup in event.speedups.items():
                    self.rows[name].speedup = _speedup(speedup)
            case _:
                pass

    def _start_replicate(self, event: ReplicateStarted, now_s: float) -> None:
        if event.replicate == 0:
            self._done = None  # of another group, whose trials take another time
        for row in self.rows.values():
            if row.state == MEASURING:
                row.state = "measured"
        for name in event.trials:
            self.rows[name].state = MEASURING
        self._started, self._started_s, self._round = event, now_s, None

    # -- what is shown ---------------------------------------------------------------------------------------

    def footer(self, now_s: float) -> list[str]:
        """Return the lines below the table: where the run is in time, and in the measuring of this experiment."""
        parts = [self._place, f"{units.span(now_s - self._began_s)} so far"]
        left = self.time_left(now_s)
        if left is not None:
            scope = " of this experiment" if self._more_experiments else ""
            parts.append(f"{about(*left)} left{scope}")
        return [" · ".join(parts), *filter(None, [" · ".join(self._measuring())])]

    def _measuring(self) -> list[str]:
        started = self._started
        if started is None:
            return []
        parts = [f"group {started.group + 1} of {started.groups}"] if started.groups > 1 else []
        parts.append(f"replicate {started.replicate + 1} (at least {started.at_least})")
        parts.append(f"round {self._round.clean} of {self._round.needed}" if self._round else "starting the workers")
        if self._rounds:
            parts.append(f"{100 * self._dirty / self._rounds:.0f} % of rounds disturbed")
        return parts

    def time_left(self, now_s: float) -> tuple[float, float] | None:
        """Return the least and most seconds of measuring still to come; None before the first replicate is done.

        From the mean length of the replicates so far: the least number of replicates on one side, on the other
        what the budget and the limit allow. Later groups are taken to be like this one.
        """
        done, started = self._done, self._started
        if done is None or started is None:
            return None
        each = done.elapsed_s / done.replicate
        running = max(done.at_least - done.replicate, 1)
        affordable = math.floor((done.budget_s - done.elapsed_s) / each) if each > 0 else running
        most = max(running, min(done.at_most - done.replicate, affordable))
        spent = min(now_s - self._started_s, each)
        whole = min(max(done.at_least, math.floor(done.budget_s / each)) if each > 0 else done.at_least, done.at_most)
        groups = started.groups - started.group - 1
        return running * each - spent + groups * done.at_least * each, most * each - spent + groups * whole * each


def about(least_s: float, most_s: float) -> str:
    """Return a range of time for a person, rounded to what such a guess can tell."""
    low, high = (units.span(_rounded(value)) for value in (least_s, most_s))
    return f"about {low}" if low == high else f"about {low} to {high}"


def _rounded(seconds: float) -> float:
    step = 1 if seconds < 20 else 5 if seconds < 90 else 10 if seconds < 600 else 60
    return max(step * round(seconds / step), 1)


def _speedup(estimate: Estimate | NotEnough) -> str:
    if isinstance(estimate, NotEnough):
        return "-"
    low, high = units.ratio(estimate.low)[:-1], units.ratio(estimate.high)[:-1]
    return f"{units.ratio(estimate.value)} [{low}, {high}]"
