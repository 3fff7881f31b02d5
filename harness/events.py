"""What a run tells whoever watches it. Plain facts; showing them is the command line's affair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.schema import Record
from harness.stats.estimate import Estimate, NotEnough


@dataclass(frozen=True)
class ExperimentStarted:
    """An experiment with this many trials begins."""

    experiment: str
    trials: int
    position: int
    experiments: int


@dataclass(frozen=True)
class StageStarted:
    """A trial reached a stage: ``build``, ``examine``."""

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
class TrialEnded:
    """A trial's record was written."""

    record: Record


@dataclass(frozen=True)
class ReplicateStarted:
    """Fresh workers are being started."""

    experiment: str
    replicate: int
    at_least: int
    workers: int


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
    """Estimates so far, by trial."""

    experiment: str
    replicate: int
    elapsed_s: float
    budget_s: float
    speedups: Mapping[str, Estimate | NotEnough]


Event = ExperimentStarted | StageStarted | Built | TrialEnded | ReplicateStarted | RoundDone | ReplicateDone
