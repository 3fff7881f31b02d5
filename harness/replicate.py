"""One replicate: fresh workers of which exactly one runs at a time, in random order, round after round.

Everything it depends on is handed in: how workers are started, the clock and the probe for outside disturbance.
So the tests drive it without a process and without sleeping.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.blocks import calls_for
from harness.events import Event, RoundDone
from harness.launcher import Spawn, WorkerFailure, WorkerHandle
from harness.measure.contention import Evidence, Probe, evidence, wait_quiet
from harness.schema import Trial
from harness.suite import Measure

VERIFY_S = 0.2  # of looking at outputs in each replicate; all of the reference was held against in the examination
# After this many rounds per clean round wanted, a busy host is taken as it is and the record says so.
DIRTY_PATIENCE = 2
STOP_PROBE_S = 30.0  # a call that takes longer after a stop hangs


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
class Replicate:
    """What one replicate gave; with all of a group's replicates its measuring can go on.

    Attributes:
        seconds: how long it took, the start of its workers included.
        calls: calls a block, by trial; the first replicate fixes them.
        load_s, first_call_s: of the trials that lasted to its end.
        evidence: what came from outside in each round, in the rounds' order.
    """

    number: int
    seconds: float
    calls: Mapping[str, int]
    load_s: Mapping[str, float]
    first_call_s: Mapping[str, float]
    blocks: Sequence[Block]
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True)
class Tools:
    """What measuring works with.

    Attributes:
        now: seconds of a monotonic clock, for the budget.
        probe: outside evidence on ``watched`` cores.
        cores_for: threads → cores a worker is pinned to; empty for no pinning.
        wait_quiet: process id → waits until the process uses no CPU, for workers that cannot be stopped.
    """

    spawn: Spawn
    now: Callable[[], float]
    probe: Probe
    watched: int
    cores_for: Callable[[int], Collection[int]]
    wait_quiet: Callable[[int], None] = wait_quiet
    on_event: Callable[[Event], None] = lambda _: None


@dataclass
class _Live:
    """A worker in the present replicate."""

    ready: Ready
    worker: WorkerHandle
    load_s: float = 0.0
    first_call_s: float = 0.0

    @property
    def name(self) -> str:
        return self.ready.trial.name


def _on_devices(members: Sequence[Ready]) -> list[Ready]:
    """Return one member of each device but the CPU."""
    found: dict[str, Ready] = {}
    for ready in members:
        if ready.trial.device != "cpu":
            found.setdefault(ready.trial.device, ready)
    return list(found.values())


class ReplicateRun:
    """Takes one replicate after another; a trial that fails is told to ``on_failure`` and left out from there."""

    def __init__(
        self,
        experiment: str,
        policy: Measure,
        seed: int,
        tools: Tools,
        on_failure: Callable[[str, WorkerFailure], None],
    ) -> None:
        self._experiment = experiment
        self._policy = policy
        self._seed = seed
        self._tools = tools
        self._on_failure = on_failure
        self._stoppable: bool | None = None  # whether workers survive being stopped; None before anybody has tried

    def take(self, members: Sequence[Ready], number: int, calls: Mapping[str, int]) -> Replicate:
        """Start fresh workers, take the rounds, end the workers; ``calls`` a block as earlier replicates fixed them."""
        began = self._tools.now()
        if self._stoppable is None:
            self._stoppable = all(self._survives_a_stop(ready) for ready in _on_devices(members))
        with self._workers(members) as live:
            calls = self._calibrate(live, calls)
            blocks, found = self._rounds(live, calls, number)
        return Replicate(
            number,
            self._tools.now() - began,
            calls,
            {worker.name: worker.load_s for worker in live},
            {worker.name: worker.first_call_s for worker in live},
            blocks,
            found,
        )

    @contextmanager
    def _workers(self, members: Sequence[Ready]) -> Iterator[list[_Live]]:
        """Start a fresh worker for each member: imports side by side, everything after it one at a time."""
        live: list[_Live] = []
        try:
            for ready in members:
                try:
                    live.append(_Live(ready, self._tools.spawn(ready.trial, "measure")))
                except WorkerFailure as failure:
                    self._on_failure(ready.trial.name, failure)
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
            live.remove(worker)
            worker.worker.close()
            self._on_failure(worker.name, failure)
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
        self._rest(live.worker)

    def _prepare(self, live: _Live) -> None:
        timeout = self._policy.stage_timeout_s
        cores = sorted(self._tools.cores_for(live.ready.trial.threads))
        with self._turn(live.worker):
            live.load_s = float(live.worker.call("load", timeout, cores=cores)["load_s"])
            live.first_call_s = float(live.worker.call("first", timeout)["first_call_s"])
            live.worker.call("verify", timeout, within_s=VERIFY_S)

    @contextmanager
    def _turn(self, worker: WorkerHandle) -> Iterator[None]:
        """Let a stopped worker run, and stop it again: an idle thread pool would burn the next one's CPU."""
        if self._stoppable:
            worker.resume()
        yield
        self._rest(worker)

    def _rest(self, worker: WorkerHandle) -> None:
        """Stop a worker; where its device's driver does not bear that, wait until its CPU clock stands still."""
        if self._stoppable:
            worker.pause()
        else:
            self._tools.wait_quiet(worker.pid)

    def _survives_a_stop(self, ready: Ready) -> bool:
        """Try with a worker of its own whether a process with a device open goes on after SIGSTOP and SIGCONT.

        Nothing documents what a CUDA context does then, so it is tried where it runs.
        """
        timeout = self._policy.stage_timeout_s
        worker = self._tools.spawn(ready.trial, "measure")
        try:
            worker.call(
                "start",
                timeout,
                trial=asdict(ready.trial),
                directory=str(ready.directory),
                test_data=str(ready.test_data),
            )
            worker.call("load", timeout, cores=[])
            worker.call("verify", timeout)
        except WorkerFailure:
            worker.close()
            return True  # it fails unstopped too, and the replicate will say why
        try:
            worker.pause()
            worker.resume()
            worker.call("verify", min(timeout, STOP_PROBE_S))
        except WorkerFailure:
            return False
        finally:
            worker.close()
        return True

    def _calibrate(self, live: list[_Live], calls: Mapping[str, int]) -> dict[str, int]:
        """Fix the number of calls a block from the first replicate's speed, the same for all later ones."""
        fixed = dict(calls)
        for worker in live.copy():

            def calibrate(worker: _Live = worker) -> None:
                with self._turn(worker.worker):
                    reply = worker.worker.call("ready", self._policy.stage_timeout_s)
                fixed.setdefault(worker.name, calls_for(float(reply["call_s"]), self._policy.block_s))

            self._try(worker, live, calibrate)
        return fixed

    def _rounds(
        self, live: list[_Live], calls: Mapping[str, int], replicate: int
    ) -> tuple[list[Block], list[Evidence]]:
        """Take rounds until enough are clean, or patience is out."""
        blocks: list[Block] = []
        evidences: list[Evidence] = []
        clean = number = 0
        most = self._policy.rounds * DIRTY_PATIENCE
        while clean < self._policy.rounds and number < most and live:
            order = list(live)
            random.Random(f"{self._seed}/{self._experiment}/{replicate}/{number}").shuffle(order)
            taken, dirty, seen = self._round(order, live, calls, replicate, number)
            blocks += taken
            evidences.append(seen)
            clean += not dirty
            number += 1
            self._tools.on_event(RoundDone(self._experiment, replicate, clean, self._policy.rounds, dirty))
        return blocks, evidences

    def _round(
        self, order: Sequence[_Live], live: list[_Live], calls: Mapping[str, int], replicate: int, number: int
    ) -> tuple[list[Block], bool, Evidence]:
        pids = [worker.worker.pid for worker in order]
        before = self._tools.probe(pids)
        samples: list[tuple[str, int, tuple[int, ...]]] = []
        failed = False
        for position, worker in enumerate(order):

            def take(worker: _Live = worker, position: int = position) -> None:
                with self._turn(worker.worker):
                    reply = worker.worker.call("block", self._policy.stage_timeout_s, calls=calls[worker.name])
                samples.append((worker.name, position, tuple(reply["ns"])))

            failed |= not self._try(worker, live, take)
        # A failed worker disturbed its round, and its CPU clock is gone with it.
        seen = evidence(before, self._tools.probe(pids), self._tools.watched)
        dirty = failed or seen.dirty
        return [Block(name, replicate, number, position, dirty, ns) for name, position, ns in samples], dirty, seen
