"""Interleaved rounds: exactly one worker runs at a time, in random order, round after round.

Everything it depends on is handed in: how workers are started, the clock, the probe for outside disturbance
and where samples go. So the tests drive it without a process and without sleeping.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from harness.events import Event, ReplicateDone, ReplicateStarted, RoundDone
from harness.launcher import Spawn, WorkerFailure, WorkerHandle
from harness.measure.contention import Probe, evidence
from harness.schema import Trial
from harness.stats.estimate import Estimate, NotEnough, log_ratios, prefer_clean, speedup
from harness.suite import Measure

MAX_CALLS = 5000
# After this many rounds per clean round wanted, a busy host is taken as it is and the record says so.
DIRTY_PATIENCE = 2


@dataclass(frozen=True)
class Ready:
    """A trial that was built and examined: what timing it needs."""

    trial: Trial
    directory: Path
    test_data: Path
    peak_bytes: int


@dataclass(frozen=True)
class Block:
    """One worker's turn: nanoseconds of each call. ``position`` is its place in the round's random order."""

    trial: str
    replicate: int
    round: int
    position: int
    dirty: bool
    ns: tuple[int, ...]


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


@dataclass(frozen=True)
class Measured:
    """Timings of the trials that lasted, failures of the others. Each trial of the input is in one of them."""

    timings: Mapping[str, TrialTiming]
    failures: Mapping[str, WorkerFailure]


class Sink(Protocol):
    """Keeps raw samples as soon as a replicate is done."""

    def __call__(self, experiment: str, group: int, replicate: int, blocks: Sequence[Block]) -> None:
        """Write them so that they survive a crash."""


@dataclass(frozen=True)
class Tools:
    """What the coordinator works with.

    Attributes:
        now: seconds of a monotonic clock, for the budget.
        probe: outside evidence on ``watched`` cores.
        cores_for: threads → cores a worker is pinned to; empty for no pinning.
        memory_bytes: how much all live workers together may use.
    """

    spawn: Spawn
    now: Callable[[], float]
    probe: Probe
    watched: int
    cores_for: Callable[[int], Collection[int]]
    memory_bytes: int
    sink: Sink
    on_event: Callable[[Event], None] = lambda _: None


@dataclass
class _Live:
    """A worker in the present replicate."""

    ready: Ready
    worker: WorkerHandle
    load_s: float = 0.0
    first_call_s: float = 0.0


@dataclass
class _History:
    """What has been gathered of one trial over replicates; medians are keyed by round."""

    clean: list[dict[int, float]] = field(default_factory=list)
    everything: list[dict[int, float]] = field(default_factory=list)
    load_s: list[float] = field(default_factory=list)
    first_call_s: list[float] = field(default_factory=list)


class Coordinator:
    """Times the trials of one experiment against each other."""

    def __init__(self, experiment: str, policy: Measure, seed: int, tools: Tools) -> None:
        self._experiment = experiment
        self._policy = policy
        self._seed = seed
        self._tools = tools
        self._failures: dict[str, WorkerFailure] = {}

    def measure(self, ready: Sequence[Ready]) -> Measured:
        """Time all trials; ``ready[0]`` is the baseline, which is part of every group.

        A trial that fails is dropped, its round repeated for the others, and it is reported in ``failures``.
        """
        timings: dict[str, TrialTiming] = {}
        groups = group_by_memory(ready, self._tools.memory_bytes)
        for index, group in enumerate(groups):
            share = self._policy.budget_s / len(groups)
            result = self._measure_group(index, group, share)
            timings = {
                **result,
                **timings,
            }  # the baseline's and plain rows' own timing is that of their first group
        lasting = {name: t for name, t in timings.items() if name not in self._failures}
        return Measured(lasting, dict(self._failures))

    # -- one group -------------------------------------------------------------------------------------------

    def _measure_group(self, group: int, members: Sequence[Ready], budget_s: float) -> dict[str, TrialTiming]:
        histories = {r.trial.name: _History() for r in members}
        calls: dict[str, int] = {}
        rounds = dirty = replicate = 0
        began = self._tools.now()
        stopped_by = ""
        while not stopped_by:
            replicate_began = self._tools.now()
            alive = [r for r in members if r.trial.name not in self._failures]
            if not alive:
                break
            with self._workers(alive, replicate) as live:
                self._calibrate(live, calls)
                blocks = self._rounds(live, calls, replicate)
            self._tools.sink(self._experiment, group, replicate, blocks)
            for worker in live:
                histories[worker.ready.trial.name].load_s.append(worker.load_s)
                histories[worker.ready.trial.name].first_call_s.append(worker.first_call_s)
            _remember(histories, blocks)
            numbers = {b.round: b.dirty for b in blocks}
            rounds += len(numbers)
            dirty += sum(numbers.values())
            replicate += 1
            now = self._tools.now()
            estimates = self._estimates(members, histories)
            self._tools.on_event(ReplicateDone(self._experiment, replicate, now - began, budget_s, estimates))
            stopped_by = self._why_stop(replicate, estimates, now - began, now - replicate_began, budget_s)
        return {
            name: TrialTiming(
                replicates=replicate,
                rounds=rounds,
                dirty_rounds=dirty,
                calls_per_block=calls[name],
                group=group,
                stopped_by=stopped_by,
                load_s=tuple(history.load_s),
                first_call_s=tuple(history.first_call_s),
            )
            for name, history in histories.items()
            if name in calls
        }

    def _why_stop(
        self,
        replicates: int,
        estimates: Mapping[str, Estimate | NotEnough],
        elapsed_s: float,
        last_s: float,
        budget_s: float,
    ) -> str:
        """Return the reason to stop, empty to go on. Never looks at a verdict, only at widths."""
        if replicates < self._policy.replicates:
            return ""
        widths = [e.relative_half_width if isinstance(e, Estimate) else float("inf") for e in estimates.values()]
        if all(width <= self._policy.precision for width in widths):
            return "precision"
        if replicates >= self._policy.max_replicates:
            return "limit"
        return "budget" if elapsed_s + last_s > budget_s else ""

    def _estimates(
        self, members: Sequence[Ready], histories: Mapping[str, _History]
    ) -> dict[str, Estimate | NotEnough]:
        base = histories[members[0].trial.name]
        result: dict[str, Estimate | NotEnough] = {}
        for ready in members[1:]:
            name = ready.trial.name
            if name in self._failures:
                continue
            own = histories[name]
            clean = [log_ratios(b, v) for b, v in zip(base.clean, own.clean, strict=False)]
            everything = [log_ratios(b, v) for b, v in zip(base.everything, own.everything, strict=False)]
            result[name] = speedup(prefer_clean(clean, everything)[0])
        return result

    # -- one replicate ---------------------------------------------------------------------------------------

    @contextmanager
    def _workers(self, members: Sequence[Ready], replicate: int) -> Iterator[list[_Live]]:
        """Start a fresh worker for each member: imports side by side, everything after it one at a time."""
        self._tools.on_event(ReplicateStarted(self._experiment, replicate, self._policy.replicates, len(members)))
        live: list[_Live] = []
        try:
            for ready in members:
                try:
                    live.append(_Live(ready, self._tools.spawn(ready.trial, "measure")))
                except WorkerFailure as failure:
                    self._failures[ready.trial.name] = failure
            for step in (self._start, self._prepare):
                for worker in live.copy():
                    self._try(worker, live, lambda w=worker, s=step: s(w))  # type: ignore[misc]
            yield live
        finally:
            for worker in live:
                worker.worker.close()

    def _try(self, worker: _Live, live: list[_Live], action: Callable[[], None]) -> bool:
        """Do something with a worker; drop its trial when that fails."""
        try:
            action()
        except WorkerFailure as failure:
            self._failures[worker.ready.trial.name] = failure
            live.remove(worker)
            worker.worker.close()
            return False
        return True

    def _start(self, live: _Live) -> None:
        ready = live.ready
        live.worker.call(
            "start",
            self._policy.stage_timeout_s,
            trial=asdict(ready.trial),
            directory=str(ready.directory),
            test_data=str(ready.test_data),
        )
        live.worker.pause()

    def _prepare(self, live: _Live) -> None:
        timeout = self._policy.stage_timeout_s
        cores = sorted(self._tools.cores_for(live.ready.trial.threads))
        with self._turn(live.worker):
            live.load_s = float(live.worker.call("load", timeout, cores=cores)["load_s"])
            live.first_call_s = float(live.worker.call("first", timeout)["first_call_s"])
            live.worker.call("verify", timeout)

    @contextmanager
    def _turn(self, worker: WorkerHandle) -> Iterator[None]:
        """Let a stopped worker run, and stop it again: an idle thread pool would burn the next one's CPU."""
        worker.resume()
        yield
        worker.pause()

    def _calibrate(self, live: list[_Live], calls: dict[str, int]) -> None:
        """Fix the number of calls a block from the first replicate's speed, the same for all later ones."""
        for worker in live.copy():

            def calibrate(worker: _Live = worker) -> None:
                with self._turn(worker.worker):
                    reply = worker.worker.call("ready", self._policy.stage_timeout_s)
                wanted = round(self._policy.block_s / max(float(reply["call_s"]), 1e-9))
                calls.setdefault(worker.ready.trial.name, min(max(wanted, 1), MAX_CALLS))

            self._try(worker, live, calibrate)

    def _rounds(self, live: list[_Live], calls: Mapping[str, int], replicate: int) -> list[Block]:
        """Take rounds until enough are clean, or patience is out."""
        blocks: list[Block] = []
        clean = number = 0
        most = self._policy.rounds * DIRTY_PATIENCE
        while clean < self._policy.rounds and number < most and live:
            order = list(live)
            random.Random(f"{self._seed}/{self._experiment}/{replicate}/{number}").shuffle(order)
            taken, dirty = self._round(order, live, calls, replicate, number)
            blocks += taken
            clean += not dirty
            number += 1
            self._tools.on_event(RoundDone(self._experiment, replicate, clean, self._policy.rounds, dirty))
        return blocks

    def _round(
        self, order: Sequence[_Live], live: list[_Live], calls: Mapping[str, int], replicate: int, number: int
    ) -> tuple[list[Block], bool]:
        pids = [worker.worker.pid for worker in order]
        before = self._tools.probe(pids)
        samples: list[tuple[str, int, tuple[int, ...]]] = []
        failed = False
        for position, worker in enumerate(order):

            def take(worker: _Live = worker, position: int = position) -> None:
                name = worker.ready.trial.name
                with self._turn(worker.worker):
                    reply = worker.worker.call("block", self._policy.stage_timeout_s, calls=calls[name])
                samples.append((name, position, tuple(reply["ns"])))

            failed |= not self._try(worker, live, take)
        # A failed worker disturbed its round, and its CPU clock is gone with it.
        dirty = failed or evidence(before, self._tools.probe(pids), self._tools.watched).dirty
        return [Block(name, replicate, number, position, dirty, ns) for name, position, ns in samples], dirty


def group_by_memory(ready: Sequence[Ready], memory_bytes: int) -> list[list[Ready]]:
    """Split trials into groups whose workers fit in memory together.

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


def _remember(histories: Mapping[str, _History], blocks: Sequence[Block]) -> None:
    """Add one replicate's block medians, in seconds, to the histories."""
    for name, history in histories.items():
        own = [b for b in blocks if b.trial == name]
        medians = {b.round: statistics.median(b.ns) / 1e9 for b in own}
        history.everything.append(medians)
        history.clean.append({b.round: medians[b.round] for b in own if not b.dirty})
