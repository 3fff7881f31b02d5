"""The coordinator, driven by workers without a process and by a scripted clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.coordinator import Coordinator, Group, Measured, group_by_memory
from harness.events import Event, ReplicateDone, RoundDone
from harness.launcher import WorkerFailure
from harness.measure.contention import Snapshot
from harness.replicate import Block, Ready, Replicate, Tools
from harness.schema import Status, Trial
from harness.stats.estimate import Estimate, NotEnough
from harness.suite import Measure
from tests.conftest import fake_trial


@dataclass
class World:
    """A host that exists on paper: its time, its workers, and everything that was done to them."""

    call_ns: dict[str, float]
    offset: Callable[[str, int], float] = lambda name, process: 1.0
    fail: Callable[[str, str, int, int], WorkerFailure | None] = lambda name, command, process, nth: None
    busy: Callable[[int], bool] = lambda round_: False
    time_s: float = 0.0
    rounds: int = 0
    waits: int = 0
    stoppable: bool = True  # False: a worker that was once stopped hangs
    running: set[int] = field(default_factory=set)
    spawned: list[FakeWorker] = field(default_factory=list)
    turns: list[list[str]] = field(default_factory=list)
    blocks: list[tuple[int, int, list[Block]]] = field(default_factory=list)
    kept: list[tuple[int, Replicate]] = field(default_factory=list)
    stops: list[tuple[int, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    noise: random.Random = field(default_factory=lambda: random.Random(0))

    def spawn(self, trial: Trial, role: str) -> FakeWorker:
        worker = FakeWorker(self, trial, len(self.spawned))
        self.spawned.append(worker)
        self.running.add(worker.pid)
        return worker

    def wait_quiet(self, pid: int) -> None:
        self.waits += 1
        self.running.discard(pid)

    def probe(self, pids: Collection[int]) -> Snapshot:
        # Asked before and after each round; a busy round shows as CPU that is nobody's.
        self.rounds += 1
        idle = self.time_s * 0.0
        own = self.time_s
        if self.rounds % 2 == 0 and self.busy(self.rounds // 2 - 1):
            own -= 1.0
        return Snapshot(self.time_s, idle, 0.0, own)

    # It is the keeper as well.

    def replicate(self, group: int, replicate: Replicate) -> None:
        self.kept.append((group, replicate))
        self.blocks.append((group, replicate.number, list(replicate.blocks)))

    def stopped(self, group: int, reason: str) -> None:
        self.stops.append((group, reason))

    def failed(self, trial: str, failure: WorkerFailure) -> None:
        self.failures.append(trial)

    def measure(
        self, names: Sequence[str], policy: Measure, memory: int = 10**12, peak: int = 1, seed: int = 7
    ) -> Measured:
        ready = [Ready(fake_trial(name), Path(), Path(), peak) for name in names]
        groups = [Group(tuple(group)) for group in group_by_memory(ready, memory)]
        return self.measure_groups(groups, policy, seed)

    def measure_groups(self, groups: Sequence[Group], policy: Measure, seed: int = 7) -> Measured:
        tools = Tools(
            spawn=self.spawn,
            now=lambda: self.time_s,
            probe=self.probe,
            watched=1,
            cores_for=lambda threads: [1],
            wait_quiet=self.wait_quiet,
            on_event=self.events.append,
        )
        return Coordinator("e", policy, seed, tools, keeper=self).measure(groups)


class FakeWorker:
    """Answers as harness.worker does, from the world's script."""

    def __init__(self, world: World, trial: Trial, process: int) -> None:
        self.world, self.trial, self.process = world, trial, process
        self.pid = 1000 + process
        self.closed = False
        self.counts: dict[str, int] = {}
        self.pauses = 0
        self.on_event: Callable[[dict[str, Any]], None] = lambda _: None

    def call(self, command: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        world, name = self.world, self.trial.name
        if command in ("load", "first", "verify", "ready", "block") and world.stoppable:
            assert world.running == {self.pid}, f"{command} of {name} while {world.running} run"
        nth = self.counts[command] = self.counts.get(command, 0) + 1
        if self.pauses and not world.stoppable:
            raise WorkerFailure(Status.TIMEOUT, "no answer within 30 s; killed", command)
        failure = world.fail(name, command, self.process, nth)
        if failure:
            raise failure
        call_ns = world.call_ns[name] * world.offset(name, self.process)
        if command == "block":
            world.turns.append([name])
            world.time_s += arguments["calls"] * call_ns / 1e9
            return {"ns": [int(call_ns * world.noise.gauss(1, 0.001)) for _ in range(arguments["calls"])]}
        world.time_s += 0.1
        return {
            "start": {"floor_bytes": 1},
            "load": {"load_s": 0.5, "load_peak_bytes": 2},
            "first": {"first_call_s": 0.25},
            "verify": {},
            "ready": {"call_s": call_ns / 1e9},
        }[command]

    def pause(self) -> None:
        self.pauses += 1
        self.world.running.discard(self.pid)

    def resume(self) -> None:
        self.world.running.add(self.pid)

    def close(self) -> None:
        self.closed = True
        self.world.running.discard(self.pid)


POLICY = Measure(replicates=5, max_replicates=6, rounds=4, budget_s=1000, block_s=0.01)


def orders(world: World) -> list[tuple[str, ...]]:
    """Return the order of names in each round."""
    blocks = [b for _, _, part in world.blocks for b in part]
    keys = sorted({(b.replicate, b.round) for b in blocks})
    return [
        tuple(b.trial for b in sorted((b for b in blocks if (b.replicate, b.round) == key), key=lambda b: b.position))
        for key in keys
    ]


def test_only_one_worker_runs_while_time_is_taken() -> None:
    # FakeWorker.call asserts it at every timed command.
    World({"baseline": 1e6, "a": 5e5, "b": 2e6}).measure(["baseline", "a", "b"], POLICY)


def test_every_round_has_one_block_of_every_trial() -> None:
    world = World({"baseline": 1e6, "a": 5e5, "b": 2e6})
    world.measure(["baseline", "a", "b"], POLICY)
    assert len(orders(world)) == 5 * 4
    assert all(sorted(order) == ["a", "b", "baseline"] for order in orders(world))


def test_the_order_is_random_and_repeats_with_the_seed() -> None:
    def run(seed: int) -> list[tuple[str, ...]]:
        world = World({"baseline": 1e6, "a": 5e5, "b": 2e6})
        world.measure(["baseline", "a", "b"], POLICY, seed=seed)
        return orders(world)

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert len(set(run(1))) > 3


def test_each_replicate_has_fresh_workers_and_all_are_closed() -> None:
    world = World({"baseline": 1e6, "a": 5e5})
    world.measure(["baseline", "a"], POLICY)
    assert len(world.spawned) == 2 * 5
    assert all(worker.closed for worker in world.spawned)


def test_the_speedup_of_a_known_ratio_is_found() -> None:
    world = World({"baseline": 1e6, "a": 5e5})
    world.measure(["baseline", "a"], POLICY)
    last = [e for e in world.events if isinstance(e, ReplicateDone)][-1]
    estimate = last.speedups["a"]
    assert isinstance(estimate, Estimate)
    assert estimate.low <= 2.0 <= estimate.high
    assert estimate.relative_half_width < 0.01


def test_it_stops_on_precision_when_all_intervals_are_narrow() -> None:
    result = World({"baseline": 1e6, "a": 5e5}).measure(["baseline", "a"], POLICY)
    assert result.timings["a"].stopped_by == "precision"
    assert result.timings["a"].replicates == 5


def test_wide_intervals_go_on_to_the_limit_of_replicates() -> None:
    world = World({"baseline": 1e6, "a": 5e5}, offset=lambda name, process: 1 + 0.05 * (process % 3))
    result = world.measure(["baseline", "a"], POLICY)
    assert result.timings["a"].stopped_by == "limit"
    assert result.timings["a"].replicates == 6


def test_a_spent_budget_stops_after_the_least_replicates() -> None:
    world = World({"baseline": 1e6, "a": 5e5}, offset=lambda name, process: 1 + 0.05 * (process % 3))
    result = world.measure(["baseline", "a"], POLICY.model_copy(update={"budget_s": 0.001}))
    assert result.timings["a"].stopped_by == "budget"
    assert result.timings["a"].replicates == 5


def test_the_block_size_is_calibrated_once_and_kept() -> None:
    world = World({"baseline": 1e6, "a": 2.5e5}, offset=lambda name, process: 1.0 if process < 2 else 3.0)
    result = world.measure(["baseline", "a"], POLICY)
    assert result.timings["baseline"].calls_per_block == 10
    assert result.timings["a"].calls_per_block == 40
    lengths = {len(b.ns) for _, _, part in world.blocks for b in part if b.trial == "a"}
    assert lengths == {40}


def test_a_model_slower_than_a_block_still_gets_one_call() -> None:
    result = World({"baseline": 5e9, "a": 1e6}).measure(["baseline", "a"], POLICY)
    assert result.timings["baseline"].calls_per_block == 1


def test_a_disturbed_round_is_repeated_for_all() -> None:
    world = World({"baseline": 1e6, "a": 5e5}, busy=lambda round_: round_ == 1)
    result = world.measure(["baseline", "a"], POLICY)
    first = [b for _, replicate, part in world.blocks for b in part if replicate == 0]
    assert {b.round for b in first} == {0, 1, 2, 3, 4}
    assert {b.round for b in first if b.dirty} == {1}
    assert result.timings["a"].dirty_rounds == 1
    assert result.timings["a"].rounds == 5 * 4 + 1


def test_a_host_that_is_always_busy_is_measured_all_the_same_and_said_to_be() -> None:
    world = World({"baseline": 1e6, "a": 5e5}, busy=lambda round_: True)
    result = world.measure(["baseline", "a"], POLICY)
    timing = result.timings["a"]
    assert timing.dirty_rounds == timing.rounds == 5 * 2 * 4
    last = [e for e in world.events if isinstance(e, ReplicateDone)][-1]
    assert isinstance(last.speedups["a"], Estimate)


@pytest.mark.parametrize("command", ["start", "load", "first", "verify", "ready", "block"])
def test_a_worker_that_fails_anywhere_is_dropped_and_the_others_go_on(command: str) -> None:
    def fail(name: str, given: str, process: int, nth: int) -> WorkerFailure | None:
        hit = name == "b" and given == command and process > 2 and nth == 1
        return WorkerFailure(Status.CRASHED, "killed by SIGSEGV", command) if hit else None

    world = World({"baseline": 1e6, "a": 5e5, "b": 2e6}, fail=fail)
    result = world.measure(["baseline", "a", "b"], POLICY)
    assert set(result.timings) == {"baseline", "a"}
    assert result.failures["b"].status is Status.CRASHED
    assert result.timings["a"].replicates == 5
    assert all(worker.closed for worker in world.spawned)


def test_the_round_in_which_a_worker_died_is_repeated() -> None:
    def fail(name: str, command: str, process: int, nth: int) -> WorkerFailure | None:
        hit = name == "b" and command == "block" and nth == 2
        return WorkerFailure(Status.CRASHED, "killed by SIGKILL", command) if hit else None

    world = World({"baseline": 1e6, "a": 5e5, "b": 2e6}, fail=fail)
    world.measure(["baseline", "a", "b"], POLICY)
    first = [b for _, replicate, part in world.blocks for b in part if replicate == 0]
    assert {b.round for b in first if b.dirty} == {1}
    assert len({b.round for b in first if not b.dirty}) == 4


def test_when_all_workers_fail_it_ends_and_reports_all() -> None:
    failure = WorkerFailure(Status.OOM, "killed by the kernel, out of memory", "load")
    world = World({"baseline": 1e6, "a": 5e5}, fail=lambda n, c, p, nth: failure if c == "load" else None)
    result = world.measure(["baseline", "a"], POLICY)
    assert set(result.failures) == {"baseline", "a"}
    assert not result.timings


def test_an_interrupt_in_a_block_closes_all_workers() -> None:
    def interrupt(name: str, command: str, process: int, nth: int) -> WorkerFailure | None:
        if command == "block" and nth == 2:
            raise KeyboardInterrupt
        return None

    world = World({"baseline": 1e6, "a": 5e5}, fail=interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.measure(["baseline", "a"], POLICY)
    assert all(worker.closed for worker in world.spawned)


def test_trials_that_do_not_fit_together_are_split_into_groups_with_the_baseline() -> None:
    world = World({"baseline": 1e6, "a": 5e5, "b": 5e5, "c": 5e5})
    result = world.measure(["baseline", "a", "b", "c"], POLICY, memory=300, peak=100)
    groups = {group: {b.trial for b in part} for group, _, part in world.blocks}
    assert groups == {0: {"baseline", "a", "b"}, 1: {"baseline", "c"}}
    assert result.timings["c"].group == 1
    assert result.timings["baseline"].group == 0


def test_a_group_brings_the_plain_row_of_its_backend_along() -> None:
    def ready(name: str, backend: str, passes: int) -> Ready:
        trial = Trial(name, "e", "m", backend, passes=("p",) * passes)  # type: ignore[arg-type]
        return Ready(trial, Path(), Path(), 100)

    items = [ready("torch", "torch", 0), ready("ort", "ort", 0)]
    items += [ready(f"ort-{i}", "ort", 1) for i in range(3)] + [ready("torch-bf16", "torch", 1)]
    groups = [[r.trial.name for r in group] for group in group_by_memory(items, 300)]
    assert all(group[0] == "torch" for group in groups)
    for group in groups:
        assert "ort" in group or not any(name.startswith("ort-") for name in group)
    assert {name for group in groups for name in group} == {r.trial.name for r in items}


def test_progress_is_told_round_by_round() -> None:
    world = World({"baseline": 1e6, "a": 5e5})
    world.measure(["baseline", "a"], POLICY)
    assert sum(isinstance(e, RoundDone) for e in world.events) == 5 * 4


def noisy(seed: int = 0) -> World:
    """A host on which every process has a speed of its own, so that it takes all six replicates."""

    def offset(name: str, process: int) -> float:
        return 1 + 0.3 * random.Random(f"{seed}/{process}").random()

    return World({"baseline": 1e6, "a": 5e5}, offset=offset)


def ready_pair() -> tuple[Ready, ...]:
    return tuple(Ready(fake_trial(name), Path(), Path(), 1) for name in ("baseline", "a"))


@pytest.mark.parametrize("kept", range(7))
def test_measuring_goes_on_from_any_number_of_kept_replicates(kept: int) -> None:
    whole = noisy()
    before = whole.measure(["baseline", "a"], POLICY)
    world = noisy(1)
    earlier = tuple(replicate for _, replicate in whole.kept[:kept])
    after = world.measure_groups([Group(ready_pair(), earlier)], POLICY)
    assert len(world.spawned) == 2 * (6 - kept)
    assert [replicate.number for _, replicate in world.kept] == list(range(kept, 6))
    assert after.timings["a"].replicates == 6
    assert after.timings["a"].rounds == 6 * 4
    assert after.timings["a"].stopped_by == "limit"
    assert len(after.timings["a"].load_s) == len(after.timings["a"].first_call_s) == 6
    assert world.stops == [(0, "limit")]
    if kept == 6:
        assert after.timings == before.timings


def test_kept_replicates_lead_to_the_same_estimate() -> None:
    whole = noisy()
    whole.measure(["baseline", "a"], POLICY)
    world = noisy(1)
    world.measure_groups([Group(ready_pair(), tuple(replicate for _, replicate in whole.kept))], POLICY)
    [told] = [e for e in world.events if isinstance(e, ReplicateDone)]
    assert told == [e for e in whole.events if isinstance(e, ReplicateDone)][-1]


def test_the_block_size_stays_that_of_the_first_kept_replicate() -> None:
    whole = World({"baseline": 1e6, "a": 2.5e5})
    whole.measure(["baseline", "a"], POLICY)
    slower = World({"baseline": 3e6, "a": 1e6})
    result = slower.measure_groups([Group(ready_pair(), (whole.kept[0][1],))], POLICY)
    assert result.timings["a"].calls_per_block == 40
    assert {len(b.ns) for _, _, part in slower.blocks for b in part if b.trial == "a"} == {40}


def test_the_budget_counts_the_seconds_already_spent() -> None:
    whole = noisy()
    whole.measure(["baseline", "a"], POLICY)
    earlier = tuple(replicate for _, replicate in whole.kept[:5])
    spent = sum(replicate.seconds for replicate in earlier)
    world = noisy(1)
    result = world.measure_groups([Group(ready_pair(), earlier)], POLICY.model_copy(update={"budget_s": spent}))
    assert result.timings["a"].stopped_by == "budget"
    assert not world.spawned


def test_a_group_that_was_done_stays_done_whatever_its_width() -> None:
    whole = noisy()
    whole.measure(["baseline", "a"], POLICY)
    world = noisy(1)
    earlier = tuple(replicate for _, replicate in whole.kept[:2])
    result = world.measure_groups([Group(ready_pair(), earlier, stopped_by="precision")], POLICY)
    assert result.timings["a"].stopped_by == "precision"
    assert result.timings["a"].replicates == 2
    assert not world.spawned
    assert not world.stops


def test_a_group_whose_baseline_failed_earlier_goes_on_without_an_estimate() -> None:
    world = World({"a": 5e5})
    result = world.measure_groups([Group(ready_pair()[1:])], POLICY)
    assert result.timings["a"].stopped_by == "limit"
    last = [e for e in world.events if isinstance(e, ReplicateDone)][-1]
    assert last.speedups["a"] == NotEnough("the baseline was not measured")


def test_a_failure_is_kept_before_the_next_block_is_taken() -> None:
    def fail(name: str, command: str, process: int, nth: int) -> WorkerFailure | None:
        if name == "a" and command == "block":
            return WorkerFailure(Status.CRASHED, "killed by SIGKILL", command)
        if world.failures and command == "block":
            raise KeyboardInterrupt
        return None

    world = World({"baseline": 1e6, "a": 5e5}, fail=fail)
    with pytest.raises(KeyboardInterrupt):
        world.measure(["baseline", "a"], POLICY)
    assert world.failures == ["a"]


def on_cuda(names: Sequence[str]) -> list[Group]:
    ready = [Ready(replace(fake_trial(name), device="cuda"), Path(), Path(), 1) for name in names]
    return [Group(tuple(ready))]


def test_a_device_that_bears_a_stop_is_stopped_like_any_other() -> None:
    world = World({"baseline": 1e6, "a": 5e5})
    measured = world.measure_groups(on_cuda(["baseline", "a"]), POLICY)
    assert set(measured.timings) == {"baseline", "a"}
    probe, *others = world.spawned
    assert (probe.pauses, probe.closed) == (1, True)
    assert all(worker.pauses > POLICY.rounds for worker in others)
    assert world.waits == 0


def test_a_device_that_hangs_after_a_stop_is_never_stopped_again_but_waited_for() -> None:
    world = World({"baseline": 1e6, "a": 5e5}, stoppable=False)
    measured = world.measure_groups(on_cuda(["baseline", "a"]), POLICY)
    assert set(measured.timings) == {"baseline", "a"}
    assert not world.failures
    assert [worker.pauses for worker in world.spawned[1:]] == [0] * (len(world.spawned) - 1)
    assert world.waits > 2 * POLICY.rounds


def test_on_the_cpu_nobody_probes() -> None:
    world = World({"baseline": 1e6, "a": 5e5})
    world.measure(["baseline", "a"], POLICY)
    assert len(world.spawned) % 2 == 0
