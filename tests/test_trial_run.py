"""How a trial's use of the machine is watched, by a worker without a process and machines on paper."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.measure.contention import Snapshot
from harness.measure.resources import Instruments, Used
from harness.schema import Energy, GpuUse, Unmeasured, Utilization
from harness.suite import Measure
from harness.trial_run import TrialRun
from tests.conftest import fake_trial
from tests.measure.fake_nvml import FakeGpu, FakeNvml
from tests.measure.fake_proc import write_process

PID = 10


class World:
    """Its time passes only while the worker calls; ``others`` is the CPU that other programs take in each block."""

    def __init__(self, root: Path, others: list[float], nvml: FakeNvml | None = None) -> None:
        self.root, self.others, self.nvml = root, others, nvml
        self.pid = PID
        self.time_s = self.other_s = 0.0
        self.blocks: list[float] = []
        write_process(root, PID, {PID: (0, 0.0)})

    def call(self, command: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        assert command == "sustain"
        assert timeout_s > arguments["seconds"]
        self.other_s += self.others[len(self.blocks)]
        self.blocks.append(arguments["seconds"])
        self.time_s += arguments["seconds"]
        return {"calls": 100 * len(self.blocks)}

    def probe(self, pids: Collection[int]) -> Snapshot:
        # Nothing is idle: what is not ours is the others'.
        return Snapshot(self.time_s, 0.0, 0.0, self.time_s - self.other_s)

    def use(self, device: str = "cpu", seconds: float = 1.0, peaks: dict[str, Any] | None = None) -> Used:
        tools = Instruments(self.root, lambda: self.nvml, lambda: self.time_s, lambda pid: self.time_s, 1e6)
        context: Any = SimpleNamespace(
            writer=SimpleNamespace(directory=self.root),
            host="h",
            make_probe=lambda cores: self.probe,
            instruments=tools,
        )
        run = TrialRun(replace(fake_trial(), device=device), Measure(utilization_s=seconds), 0, context, {})
        return run._use(self, peaks)  # type: ignore[arg-type]


def test_a_quiet_block_is_taken_once(tmp_path: Path) -> None:
    world = World(tmp_path, [0.0])
    use = world.use().utilization
    assert isinstance(use, Utilization)
    assert (use.cores_used, use.calls, use.disturbed) == (1.0, 100, False)
    assert world.blocks == [1.0]


def test_a_disturbed_block_is_repeated_once_and_the_quieter_kept(tmp_path: Path) -> None:
    use = World(tmp_path, [0.5, 0.0]).use().utilization
    assert isinstance(use, Utilization)
    assert (use.calls, use.disturbed) == (200, False)
    use = World(tmp_path, [0.5, 0.8]).use().utilization
    assert isinstance(use, Utilization)
    assert (use.calls, use.disturbed) == (100, True)


def test_it_can_be_switched_off_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, [])
    used = world.use(seconds=0.0)
    reason = Unmeasured("switched off: measure.utilization_s is 0")
    assert used.utilization == used.energy == used.process_bytes == reason
    assert world.blocks == []


def test_a_trial_on_a_gpu_is_watched_on_the_one_that_its_runtime_names(tmp_path: Path) -> None:
    other, own = FakeGpu("GPU-a"), FakeGpu("GPU-b", energy_mj=(0, 4000), processes={PID: 77})
    used = World(tmp_path, [0.0], FakeNvml(other, own)).use("cuda", peaks={"uuid": "b"})
    assert isinstance(used.energy, Energy)
    assert (used.energy.joules, used.energy.source) == (4.0, "nvml:GPU-b")
    assert isinstance(used.utilization, Utilization)
    assert isinstance(used.utilization.gpu, GpuUse)
    assert used.process_bytes == 77
