"""Replicate after replicate for each group of trials, until the intervals are narrow or the budget is spent.

What it reaches is handed to a ``Keeper`` at once, and it can start from what was kept: a run that was cut short
goes on as if it had not been.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.events import ReplicateDone, ReplicateStarted
from harness.launcher import WorkerFailure
from harness.measure.contention import Evidence, disturbance
from harness.replicate import Ready, Replicate, ReplicateRun, Tools
from harness.schema import Disturbance, Unmeasured
from harness.stats.estimate import Estimate, NotEnough, log_ratios, prefer_clean, speedup
from harness.suite import Measure


@dataclass(frozen=True)
class Group:
    """Trials that are measured together.

    Attributes:
        members: the baseline first, unless it failed in an earlier part of the run.
        earlier: the replicates that are kept already, in order.
        stopped_by: why measuring of this group ended already; empty while it has not.
    """

    members: tuple[Ready, ...]
    earlier: tuple[Replicate, ...] = ()
    stopped_by: str = ""


@dataclass(frozen=True)
class TrialTiming:
    """What the coordinator knows of one trial when it is done."""

    replicates: int
    rounds: int
    dirty_rounds: int
    calls_per_block: int
    group: int
    stopped_by: str
    load_s: tuple[float, ...]
    first_call_s: tuple[float, ...]
    disturbance: Disturbance | Unmeasured


@dataclass(frozen=True)
class Measured:
    """Timings of the trials that lasted, failures of the others. Each trial of the input is in one of them."""

    timings: Mapping[str, TrialTiming]
    failures: Mapping[str, WorkerFailure]


class Keeper(Protocol):
    """Keeps what was reached, durably, before it returns."""

    def replicate(self, group: int, replicate: Replicate) -> None:
        """Keep a replicate's samples and what else is needed to go on from it."""

    def stopped(self, group: int, reason: str) -> None:
        """Keep that a group takes no further replicate."""

    def failed(self, trial: str, failure: WorkerFailure) -> None:
        """Keep that a trial ended."""


@dataclass
class _History:
    """What has been gathered of one trial over replicates; medians are keyed by round."""

    clean: list[dict[int, float]] = field(default_factory=list)
    everything: list[dict[int, float]] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    first_call_s: list[float] = field(default_factory=list)


class _Progress:
    """What a group has gathered, from replicates kept earlier and from new ones alike."""

    def __init__(self, members: Sequence[Ready]) -> None:
        self.histories = {ready.trial.name: _History() for ready in members}
        self.calls: dict[str, int] = {}
        self.replicates = self.rounds = self.dirty = 0
        self.elapsed_s = self.last_s = 0.0
        self.evidence: list[Evidence] = []

    def add(self, replicate: Replicate) -> None:
        """Add one replicate: block medians in seconds, load times, its length."""
        for name, history in self.histories.items():
            own = [b for b in replicate.blocks if b.trial == name]
            medians = {b.round: statistics.median(b.ns) / 1e9 for b in own}
            history.everything.append(medians)
            history.clean.append({b.round: medians[b.round] for b in own if not b.dirty})
            if name in replicate.load_s:
                history.load_s.append(replicate.load_s[name])
                history.first_call_s.append(replicate.first_call_s[name])
        self.calls = {**replicate.calls, **self.calls}
        numbers = {b.round: b.dirty for b in replicate.blocks}
        self.rounds += len(numbers)
        self.dirty += sum(numbers.values())
        self.replicates += 1
        self.evidence += replicate.evidence
        self.elapsed_s += replicate.seconds
        self.last_s = replicate.seconds

    def timings(self, group: int, stopped_by: str) -> dict[str, TrialTiming]:
        """Return the timing of every member that came as far as calibration."""
        return {
            name: TrialTiming(
                replicates=self.replicates,
                rounds=self.rounds,
                dirty_rounds=self.dirty,
                calls_per_block=self.calls[name],
                group=group,
                stopped_by=stopped_by,
                load_s=tuple(history.load_s),
                first_call_s=tuple(history.first_call_s),
                disturbance=disturbance(self.evidence),
            )
            for name, history in self.histories.items()
            if name in self.calls
        }


class Coordinator:
    """Times the trials of one experiment against each other."""

    def __init__(self, experiment: str, policy: Measure, seed: int, tools: Tools, keeper: Keeper) -> None:
        self._experiment = experiment
        self._policy = policy
        self._tools = tools
        self._keeper = keeper
        self._failures: dict[str, WorkerFailure] = {}
        self._replicates = ReplicateRun(experiment, policy, seed, tools, self._fail)

    def measure(self, groups: Sequence[Group]) -> Measured:
        """Time all trials, group after group.

        A trial that fails is dropped, its round repeated for the others, and it is reported in ``failures``.
        """
        timings: dict[str, TrialTiming] = {}
        for index, group in enumerate(groups):
            result = self._measure_group(index, len(groups), group)
            timings = {
                **result,
                **timings,
            }  # the baseline's and plain rows' own timing is that of their first group
        lasting = {name: t for name, t in timings.items() if name not in self._failures}
        return Measured(lasting, dict(self._failures))

    def _measure_group(self, index: int, groups: int, group: Group) -> dict[str, TrialTiming]:
        budget_s = self._policy.budget_s / groups
        progress = _Progress(group.members)
        for earlier in group.earlier:
            progress.add(earlier)
        stopped_by = group.stopped_by
        if group.earlier and not stopped_by:
            stopped_by = self._after_replicate(index, group, progress, budget_s)
        while not stopped_by:
            alive = [r for r in group.members if r.trial.name not in self._failures]
            if not alive:
                break
            number, least = progress.replicates, self._policy.replicates
            names = tuple(r.trial.name for r in alive)
            self._tools.on_event(ReplicateStarted(self._experiment, index, groups, number, least, names))
            replicate = self._replicates.take(alive, number, progress.calls)
            self._keeper.replicate(index, replicate)
            progress.add(replicate)
            stopped_by = self._after_replicate(index, group, progress, budget_s)
        return progress.timings(index, stopped_by)

    def _after_replicate(self, index: int, group: Group, progress: _Progress, budget_s: float) -> str:
        """Tell the estimates so far and return the reason to stop, empty to go on."""
        estimates = self._estimates(group.members, progress.histories)
        self._tools.on_event(
            ReplicateDone(
                self._experiment,
                progress.replicates,
                self._policy.replicates,
                self._policy.max_replicates,
                progress.elapsed_s,
                budget_s,
                estimates,
            )
        )
        stopped_by = self._why_stop(progress, estimates, budget_s)
        if stopped_by:
            self._keeper.stopped(index, stopped_by)
        return stopped_by

    def _why_stop(self, progress: _Progress, estimates: Mapping[str, Estimate | NotEnough], budget_s: float) -> str:
        """Return the reason to stop, empty to go on. Never looks at a verdict, only at widths."""
        if progress.replicates < self._policy.replicates:
            return ""
        widths = [e.relative_half_width if isinstance(e, Estimate) else float("inf") for e in estimates.values()]
        if all(width <= self._policy.precision for width in widths):
            return "precision"
        if progress.replicates >= self._policy.max_replicates:
            return "limit"
        return "budget" if progress.elapsed_s + progress.last_s > budget_s else ""

    def _estimates(
        self, members: Sequence[Ready], histories: Mapping[str, _History]
    ) -> dict[str, Estimate | NotEnough]:
        base = next((histories[r.trial.name] for r in members if r.trial.role == "baseline"), None)
        result: dict[str, Estimate | NotEnough] = {}
        for ready in members:
            name = ready.trial.name
            if name in self._failures or ready.trial.role == "baseline":
                continue
            if base is None:
                result[name] = NotEnough("the baseline was not measured")
                continue
            own = histories[name]
            clean = [log_ratios(b, v) for b, v in zip(base.clean, own.clean, strict=False)]
            everything = [log_ratios(b, v) for b, v in zip(base.everything, own.everything, strict=False)]
            result[name] = speedup(prefer_clean(clean, everything)[0])
        return result

    def _fail(self, trial: str, failure: WorkerFailure) -> None:
        self._failures[trial] = failure
        self._keeper.failed(trial, failure)


def group_by_memory(ready: Sequence[Ready], memory_bytes: int) -> list[list[Ready]]:
    """Split trials into groups whose workers fit in memory together; ``ready[0]`` is the baseline.

    Every group starts with the baseline and, before the variants of a backend, that backend's plain row, so
    that both ratios of a variant come from one group. A group of one variant is formed even when it does not
    fit: then the kernel decides, and the record says ``oom``.
    """
    baseline, rest = ready[0], list(ready[1:])
    if sum(r.peak_bytes for r in ready) <= memory_bytes:
        return [list(ready)]
    plain = {r.trial.backend: r for r in reversed(ready) if not r.trial.passes}
    groups: list[list[Ready]] = []
    current: list[Ready] = [baseline]
    for item in sorted(rest, key=lambda r: (r.trial.backend, bool(r.trial.passes))):
        anchor = plain.get(item.trial.backend, item)
        together = [anchor, item] if anchor is not item else [item]
        needed = [r for r in together if r not in current]
        if len(current) > 1 and sum(r.peak_bytes for r in [*current, *needed]) > memory_bytes:
            groups.append(current)
            current = [baseline]
            needed = [r for r in together if r is not baseline]
        current += needed
    groups.append(current)
    return groups
