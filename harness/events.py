"""What a run tells whoever watches it. Plain facts; showing them is the command line's affair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.schema import Record, Status
from harness.stats.estimate import Estimate, NotEnough


@dataclass(frozen=True)
class RunStarted:
    """A run has its folder, a new one or the one that it resumes."""

    directory: Path


@dataclass(frozen=True)
class BusyHost:
    """Other programs use the host as the run begins."""

    text: str


@dataclass(frozen=True)
class ExperimentStarted:
    """An experiment with these trials begins."""

    experiment: str
    trials: tuple[str, ...]
    position: int
    experiments: int


@dataclass(frozen=True)
class Resumed:
    """What an earlier part of the run did of an experiment already: it is kept.

    Attributes:
        ended: status of the trials that have their record.
        examined: trials that are ready to be timed or were timed in part.
        replicates: finished ones, over all groups.
    """

    experiment: str
    ended: Mapping[str, Status]
    examined: tuple[str, ...]
    replicates: int


@dataclass(frozen=True)
class StageStarted:
    """A trial reached a stage: ``build``, ``examine``, ``loadgen``."""

    experiment: str
    trial: str
    stage: str
    detail: str = ""


@dataclass(frozen=True)
class Built:
    """A trial's artifact is there."""

    experiment: str
    trial: str
    cached: bool
    build_s: float


@dataclass(frozen=True)
class TrialExamined:
    """A trial is ready to be timed."""

    experiment: str
    trial: str


@dataclass(frozen=True)
class TrialEnded:
    """A trial's record was written."""

    record: Record


@dataclass(frozen=True)
class ReplicateStarted:
    """Fresh workers of these trials are being started; ``replicate`` counts from 0 in each group."""

    experiment: str
    group: int
    groups: int
    replicate: int
    at_least: int
    trials: tuple[str, ...]


@dataclass(frozen=True)
class RoundDone:
    """Every live trial had its block; ``clean`` rounds of ``needed`` in this replicate."""

    experiment: str
    replicate: int
    clean: int
    needed: int
    dirty: bool


@dataclass(frozen=True)
class ReplicateDone:
    """Estimates so far, by trial, from ``replicate`` replicates; ``elapsed_s`` and ``budget_s`` are the group's."""

    experiment: str
    replicate: int
    at_least: int
    at_most: int
    elapsed_s: float
    budget_s: float
    speedups: Mapping[str, Estimate | NotEnough]


Event = (
    BusyHost
    | RunStarted
    | ExperimentStarted
    | Resumed
    | StageStarted
    | Built
    | TrialExamined
    | TrialEnded
    | ReplicateStarted
    | RoundDone
    | ReplicateDone
)
