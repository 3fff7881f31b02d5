"""The live table: a run's events in, what stands on the terminal out, by a scripted clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from io import StringIO

import pytest
from rich.console import Console

from harness.cli.board import Board, about
from harness.cli.live import LiveTable, render
from harness.cli.progress import Progress
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
from harness.schema import Record, Status
from harness.stats.estimate import Estimate, NotEnough
from tests.conftest import fake_trial

NAMES = ("baseline", "fast", "bad")
BEGIN = ExperimentStarted("e", NAMES, 1, 2)
ESTIMATE = Estimate(2.0, 1.9, 2.1, 3, 60, "host")


def ended(name: str, status: Status, reason: str | None = None) -> TrialEnded:
    return TrialEnded(Record("r", fake_trial(name), status, "host", "", reason=reason))


def started(replicate: int, group: int = 0, groups: int = 1) -> ReplicateStarted:
    return ReplicateStarted("e", group, groups, replicate, 5, NAMES[:2])


def done(replicate: int, elapsed_s: float, budget_s: float = 120.0) -> ReplicateDone:
    return ReplicateDone("e", replicate, 5, 10, elapsed_s, budget_s, {"fast": ESTIMATE})


def board_after(*events: Event, now_s: float = 0.0) -> Board:
    board = Board(BEGIN, 0.0)
    for event in events:
        board.take(event, now_s)
    return board


def states(board: Board) -> dict[str, str]:
    return {name: row.state for name, row in board.rows.items()}


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (StageStarted("e", "fast", "build"), "building"),
        (StageStarted("e", "fast", "build", "quantize.static-int8"), "building quantize.static-int8"),
        (Built("e", "fast", True, 3.0), "cached"),
        (Built("e", "fast", False, 3.0), "built in 3.00 s"),
        (StageStarted("e", "fast", "examine"), "examining"),
        (TrialExamined("e", "fast"), "ready"),
        (started(0), "measuring"),
        (ended("fast", Status.OK), "[green]ok[/green]"),
        (ended("fast", Status.UNSUPPORTED, "why"), "[yellow]unsupported[/yellow]"),
        (ended("fast", Status.CRASHED, "why"), "[red]crashed[/red]"),
    ],
)
def test_each_event_sets_the_state_of_its_trial_and_of_no_other(event: Event, state: str) -> None:
    board = board_after(event)
    assert states(board)["fast"] == state
    assert states(board)["bad"] == "waiting"


def test_speedups_are_shown_with_their_interval_and_only_when_there_is_one() -> None:
    board = board_after(started(0), done(1, 10.0))
    assert board.rows["fast"].speedup == "2.00× [1.90, 2.10]"
    assert board.rows["baseline"].speedup == "baseline"
    board.take(ReplicateDone("e", 2, 5, 10, 20.0, 120.0, {"fast": NotEnough("too few")}), 0.0)
    assert board.rows["fast"].speedup == "-"


def test_trials_of_a_group_that_is_done_are_measured_while_the_next_group_runs() -> None:
    board = board_after(started(0), ReplicateStarted("e", 1, 2, 0, 5, ("baseline", "bad")))
    assert states(board) == {"baseline": "measuring", "fast": "measured", "bad": "measuring"}


def test_what_an_earlier_part_of_the_run_did_is_shown() -> None:
    board = board_after(Resumed("e", {"bad": Status.INVALID}, ("baseline", "fast"), 3))
    assert states(board) == {"baseline": "ready", "fast": "ready", "bad": "[red]invalid[/red]"}


def test_the_footer_tells_place_replicate_round_disturbance_and_time() -> None:
    board = board_after(started(0), RoundDone("e", 0, 1, 20, False), RoundDone("e", 0, 1, 20, True))
    assert board.footer(75.0) == [
        "experiment 1 of 2 · 1 min 15 s so far",
        "replicate 1 (at least 5) · round 1 of 20 · 50 % of rounds disturbed",
    ]


def test_no_time_left_is_claimed_before_the_first_replicate_is_done() -> None:
    assert board_after(started(0)).time_left(5.0) is None


def test_the_time_left_lies_between_the_least_replicates_and_what_the_budget_allows() -> None:
    board = board_after(started(0), done(1, 10.0, budget_s=75.0), started(1))
    assert board.time_left(0.0) == (40.0, 60.0)  # 4 more at least, 6 more within the budget
    assert board.time_left(4.0) == (36.0, 56.0)
    assert board.time_left(500.0) == (30.0, 50.0)  # a replicate that takes longer than the others
    late = board_after(started(6), done(7, 70.0, budget_s=1000.0), started(7))
    assert late.time_left(0.0) == (10.0, 30.0)  # the one under way, or up to the limit of 10


def test_later_groups_are_counted_as_if_they_were_like_this_one() -> None:
    board = board_after(started(0, groups=2), done(1, 10.0, budget_s=60.0), started(1, groups=2))
    assert board.time_left(0.0) == (40.0 + 50.0, 50.0 + 60.0)


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (80.0, 120.0, "about 1 min 20 s to 2 min 00 s"),
        (79.0, 81.0, "about 1 min 20 s"),
        (0.0, 0.2, "about 1 s"),
        (7.2, 13.0, "about 7 s to 13 s"),
        (1000.0, 3610.0, "about 17 min 00 s to 1 h 00 min"),
    ],
)
def test_time_left_is_rounded_to_what_a_guess_can_tell(least: float, most: float, text: str) -> None:
    assert about(least, most) == text


def shown(board: Board, room: int = 20) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(render(board, 0.0, room))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_table_higher_than_the_terminal_shows_where_something_happens() -> None:
    names = tuple(f"trial-{i:02d}" for i in range(30))
    board = Board(ExperimentStarted("e", names, 1, 1), 0.0)
    board.take(StageStarted("e", "trial-25", "build"), 0.0)
    text = shown(board, room=5)
    assert "trial-25" in text
    assert "… and 25 more" in text
    assert text.count("trial-") == 5


def test_markup_in_a_name_is_not_obeyed() -> None:
    board = Board(ExperimentStarted("e", ("[red]x[/red]",), 1, 1), 0.0)
    assert "[red]x[/red]" in shown(board)


@dataclass
class Screen:
    """A terminal that keeps what is written, and a clock that is set by hand."""

    time_s: float = 0.0

    def __post_init__(self) -> None:
        self.file = StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=100, height=30, highlight=False)
        self.live = LiveTable(self.console, clock=lambda: self.time_s)

    def tell(self, *events: Event) -> str:
        """Return what was written for these events."""
        before = len(self.file.getvalue())
        for event in events:
            self.live.on_event(event)
        return self.file.getvalue()[before:]


def test_rounds_draw_at_most_four_times_a_second() -> None:
    screen = Screen()
    screen.tell(BEGIN, started(0))
    drawn = 0
    for clean in range(40):
        screen.time_s += 0.0625
        drawn += bool(screen.tell(RoundDone("e", 0, clean, 40, False)))
    assert drawn == 10


def test_nothing_is_drawn_but_by_an_event_and_no_thread_is_started() -> None:
    threads = threading.active_count()
    screen = Screen()
    screen.tell(BEGIN, started(0))
    assert threading.active_count() == threads
    screen.live.close(finished=True)


def test_the_last_state_is_never_left_stale_by_the_throttle() -> None:
    screen = Screen()
    screen.tell(BEGIN, started(0), RoundDone("e", 0, 1, 5, False))
    assert "ready" in screen.tell(TrialExamined("e", "bad"))


def test_reasons_stay_above_the_table_as_lines() -> None:
    screen = Screen()
    screen.tell(BEGIN)
    written = screen.tell(ended("bad", Status.INVALID, "output 0 is not finite"))
    assert written.index("output 0 is not finite") < written.index("speed-up so far")
    later = screen.tell(TrialExamined("e", "fast"))
    assert "not finite" not in later


def test_the_table_makes_room_for_the_verdicts_and_stays_after_an_interrupt() -> None:
    finished, cut = Screen(), Screen()
    for screen in (finished, cut):
        screen.tell(BEGIN, ended("bad", Status.INVALID, "why"))
    cut.live.close(finished=False)
    finished.live.close(finished=True)
    erase = "\x1b[2K"
    assert finished.file.getvalue().rstrip().endswith(erase)
    assert not cut.file.getvalue().rstrip().endswith(erase)


def test_elsewhere_than_in_a_terminal_there_are_plain_lines_without_control_codes() -> None:
    console = Console(file=StringIO(), width=100)
    with Progress(console) as progress:
        for event in (
            BEGIN,
            Resumed("e", {"bad": Status.INVALID}, ("fast",), 0),
            StageStarted("e", "fast", "build"),
            Built("e", "fast", False, 3.0),
            TrialExamined("e", "fast"),
            started(0),
            RoundDone("e", 0, 1, 20, False),
            done(1, 10.0),
            ended("fast", Status.OK),
            ended("bad", Status.CRASHED, "killed by SIGSEGV"),
        ):
            progress.on_event(event)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "experiment e (1 of 2, 3 trials)",
        "  resumed  1 trial has its record, 1 is examined already",
        "  built    fast: built in 3.00 s",
        "  measure  replicate 1 done after 10 s (budget 2 min 00 s), widest interval ±5.0 %",
        "  crashed  bad: killed by SIGSEGV",
    ]


def test_quiet_shows_nothing() -> None:
    with Progress(None) as progress:
        progress.on_event(BEGIN)
        progress.on_event(ended("bad", Status.CRASHED, "why"))
