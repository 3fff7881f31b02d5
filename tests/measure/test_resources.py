"""A worker that is watched on a machine that exists on paper."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.measure.nvml import GpuSample
from harness.measure.processes import ThreadTime
from harness.measure.rapl import POWERCAP
from harness.measure.resources import Instruments, Used, Watched, device_memory, unused, watch
from harness.measure.utilization import Sample, gpu_use, utilization
from harness.schema import DeviceMemory, Energy, GpuUse, Unmeasured, Utilization
from tests.measure.fake_nvml import ERRORS, FakeGpu, FakeNvml
from tests.measure.fake_proc import write_process

PID = 10


def seen(at_s: float, processes: dict[int, float], threads: dict[int, tuple[int, float]] | None = None) -> Sample:
    times = {tid: ThreadTime(*thread) for tid, thread in (threads or {}).items()}
    return Sample(at_s, processes, times, Unmeasured("none"))


def used(*samples: Sample) -> Utilization:
    found = utilization(samples, PID, 5, None)
    assert isinstance(found, Utilization)
    return found


def test_cores_used_is_cpu_time_over_wall_time() -> None:
    found = used(seen(1.0, {PID: 5.0}), seen(2.0, {PID: 6.5}), seen(3.0, {PID: 8.0}))
    assert (found.cores_used, found.window_s, found.calls, found.samples) == (1.5, 2.0, 5, 3)
    assert found.gpu is None


def test_children_count_from_their_start_to_where_they_were_last_seen() -> None:
    found = used(
        seen(0.0, {PID: 5.0, 11: 2.0}),
        seen(1.0, {PID: 5.5, 11: 2.5, 12: 0.25}),  # 12 has just been started
        seen(2.0, {PID: 6.0, 12: 1.0}),  # 11 is gone
    )
    assert found.cores_used * 2.0 == pytest.approx(1.0 + 0.5 + 1.0)


def test_a_process_number_that_is_given_anew_begins_at_zero() -> None:
    assert used(seen(0.0, {PID: 1.0, 11: 9.0}), seen(1.0, {PID: 1.0, 11: 0.5})).cores_used == 0.5


def test_threads_are_counted_on_the_core_where_they_were_seen() -> None:
    found = used(
        seen(0.0, {PID: 0.0}, {1: (0, 1.0), 2: (1, 1.0)}),
        seen(1.0, {PID: 1.9}, {1: (0, 2.0), 2: (1, 1.9)}),
        seen(2.0, {PID: 3.9}, {1: (0, 3.0), 2: (0, 2.4), 3: (1, 0.5)}),
    )
    assert found.per_core == pytest.approx({0: 1.25, 1: 0.7})


def test_time_in_which_others_had_the_core_is_told_apart(tmp_path: Path) -> None:
    def at(at_s: float, waited_s: float | None) -> Sample:
        return Sample(at_s, {PID: 0.0}, {1: ThreadTime(0, 0.0, waited_s)}, Unmeasured("none"))

    assert used(at(0.0, 5.0), at(1.0, 5.5), at(2.0, 6.2)).cores_waited == pytest.approx(0.6)
    assert isinstance(used(at(0.0, None), at(1.0, None)).cores_waited, Unmeasured)


def test_without_threads_in_proc_cores_are_unknown_and_the_sum_is_not() -> None:
    found = used(seen(0.0, {PID: 0.0}), seen(1.0, {PID: 0.5}))
    assert found.cores_used == 0.5
    assert isinstance(found.per_core, Unmeasured)


def test_a_process_that_went_away_or_a_window_of_nothing_is_unmeasured() -> None:
    here, gone = seen(0.0, {PID: 1.0}), seen(1.0, {})
    for samples in ((here, gone), (here,), (here, here)):
        assert isinstance(utilization(samples, PID, 5, None), Unmeasured)


def gpu_sample(sm: float | Unmeasured, throttling: frozenset[str] = frozenset()) -> GpuSample:
    return GpuSample(sm, 0.5, 100.0, 1e9, 2e9, throttling, 7)


def gpu_samples(*values: tuple[float, GpuSample]) -> list[Sample]:
    return [Sample(at_s, {PID: 0.0}, {}, Unmeasured("none"), gpu) for at_s, gpu in values]


def test_utilization_of_a_gpu_leaves_out_the_period_that_began_before_the_window() -> None:
    cap = frozenset({"power cap"})
    samples = gpu_samples((0.0, gpu_sample(0.0)), (1.0, gpu_sample(0.8, cap)), (2.0, gpu_sample(0.9)))
    found = gpu_use(samples, "Fake")
    assert isinstance(found, GpuUse)
    assert found.sm == pytest.approx(0.85)
    assert (found.samples, found.power_w, found.throttling) == (3, 100.0, {"power cap": pytest.approx(1 / 3)})


def test_a_window_below_the_gpus_period_has_no_utilization_but_the_rest() -> None:
    found = gpu_use(gpu_samples((0.0, gpu_sample(0.0)), (0.5, gpu_sample(0.8))), "Fake")
    assert isinstance(found, GpuUse)
    assert isinstance(found.sm, Unmeasured)
    assert "shorter than the period" in found.sm.reason
    assert found.power_w == 100.0


def test_a_quantity_that_fails_in_one_sample_is_unmeasured() -> None:
    lost = gpu_sample(Unmeasured("GPU is lost"))
    found = gpu_use(gpu_samples((0.0, gpu_sample(0.0)), (1.0, gpu_sample(0.8)), (2.0, lost)), "Fake")
    assert isinstance(found, GpuUse)
    assert found.sm == Unmeasured("GPU is lost")


@dataclass
class Machine:
    """A machine that works at two cores and 100 W while the worker calls; its time passes in ``sustain`` only."""

    root: Path
    nvml: FakeNvml | None = None
    time_s: float = 0.0
    asked: list[float] = field(default_factory=list)
    looked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.show()

    def show(self) -> None:
        write_process(self.root, PID, {PID: (0, self.time_s), 11: (1, self.time_s)})
        folder = self.root / POWERCAP / "intel-rapl:0"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("name", "package-0"),
            ("energy_uj", str(round(100e6 * self.time_s))),
            ("max_energy_range_uj", "1000000000"),
        ):
            (folder / name).write_text(text)

    def sustain(self, seconds: float) -> dict[str, Any]:
        self.asked.append(seconds)
        self.time_s += seconds
        self.show()
        return {"calls": 8}

    def load_nvml(self) -> Any:
        if self.nvml is None:
            raise ModuleNotFoundError("pynvml")
        return self.nvml

    def tools(self) -> Instruments:
        # The samples in between would race with the files: they have a test of their own.
        return Instruments(self.root, self.load_nvml, lambda: self.time_s, lambda pid: 2 * self.time_s, 1e6)


def test_a_trial_on_the_cpu_is_watched_with_rapl(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    found = watch(Watched(PID, 4), 2.0, machine.sustain, machine.tools())
    assert found.utilization == Utilization(2.0, 8, 2, 2.0, 0.0, {0: 1.0, 1: 1.0})
    assert isinstance(found.energy, Energy)
    assert found.energy.joules == pytest.approx(200.0)
    assert found.energy.joules_per_example == pytest.approx(200.0 / 32)
    assert found.energy.source == "rapl:package-0"
    assert "idle included" in found.energy.scope


def test_a_window_shorter_than_the_counters_period_is_lengthened(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    found = watch(Watched(PID, 1), 0.001, machine.sustain, machine.tools())
    assert machine.asked == [pytest.approx(0.02)]
    assert isinstance(found.energy, Energy)
    gpu = Machine(tmp_path, FakeNvml(FakeGpu()))
    watch(Watched(PID, 1, gpu=True), 0.5, gpu.sustain, gpu.tools())
    assert gpu.asked == [2.0]


def test_without_a_counter_energy_has_its_reason_and_utilization_its_value(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    shutil.rmtree(tmp_path / "sys")
    found = watch(Watched(PID, 4), 1.0, lambda s: _passing(machine, s), machine.tools())
    assert isinstance(found.energy, Unmeasured)
    assert "gives no energy counter" in found.energy.reason
    assert isinstance(found.utilization, Utilization)


def _passing(machine: Machine, seconds: float) -> dict[str, Any]:
    machine.time_s += seconds
    return {"calls": 8}


def test_a_trial_on_the_gpu_is_watched_with_nvml(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu(energy_mj=(5_000, 705_000), processes={PID: 300}))
    machine = Machine(tmp_path, nvml)
    found = watch(Watched(PID, 4, gpu=True, gpu_uuid="11111111-2222"), 2.0, machine.sustain, machine.tools())
    assert isinstance(found.energy, Energy)
    assert (found.energy.joules, found.energy.source) == (700.0, "nvml:GPU-11111111-2222")
    assert isinstance(found.utilization, Utilization)
    assert isinstance(found.utilization.gpu, GpuUse)
    assert (found.utilization.gpu.sm, found.utilization.gpu.name) == (0.8, "Fake H100")
    assert found.process_bytes == 300
    assert nvml.initialized == 0


def test_a_gpu_that_is_lost_in_the_window_leaves_the_cpus_part(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu())
    machine = Machine(tmp_path, nvml)

    def lose(seconds: float) -> dict[str, Any]:
        nvml.errors["*"] = ERRORS["GpuIsLost"]
        return machine.sustain(seconds)

    found = watch(Watched(PID, 4, gpu=True), 2.0, lose, machine.tools())
    assert isinstance(found.energy, Unmeasured)
    assert "GPU is lost" in found.energy.reason
    assert isinstance(found.utilization, Utilization)
    assert found.utilization.cores_used == 2.0
    assert isinstance(found.utilization.gpu, GpuUse)
    assert isinstance(found.utilization.gpu.power_w, Unmeasured)


def test_a_gpu_without_a_driver_is_a_reason_everywhere(tmp_path: Path) -> None:
    nvml = FakeNvml(FakeGpu(), errors={"nvmlInit": ERRORS["LibraryNotFound"]})
    machine = Machine(tmp_path, nvml)
    found = watch(Watched(PID, 4, gpu=True), 1.0, machine.sustain, machine.tools())
    assert isinstance(found.energy, Unmeasured)
    assert "no NVIDIA driver" in found.energy.reason
    assert isinstance(found.utilization, Utilization)
    assert found.utilization.gpu == found.energy


def test_a_worker_that_ends_in_the_window_raises_what_it_raised(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    def crash(seconds: float) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "proc")
        raise RuntimeError("killed by SIGSEGV")

    with pytest.raises(RuntimeError, match="SIGSEGV"):
        watch(Watched(PID, 4), 1.0, crash, machine.tools())


def test_samples_are_taken_while_the_worker_works(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    looks: list[int] = []
    enough = threading.Event()

    def cpu_s(pid: int) -> float:
        looks.append(pid)
        if len(looks) >= 4:
            enough.set()
        return float(len(looks))

    def wait(seconds: float) -> dict[str, Any]:
        assert enough.wait(30)  # three looks in between, or the thread does not work
        machine.time_s += seconds
        return {"calls": 1}

    tools = Instruments(tmp_path, machine.load_nvml, lambda: machine.time_s, cpu_s, 0.001)
    found = watch(Watched(PID, 1), 1.0, wait, tools)
    assert isinstance(found.utilization, Utilization)
    assert found.utilization.samples >= 5


def test_an_error_in_the_thread_that_looks_is_not_swallowed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    failed = threading.Event()

    def cpu_s(pid: int) -> float:
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise ZeroDivisionError
        return 0.0

    def wait(seconds: float) -> dict[str, Any]:
        assert failed.wait(30)
        return {"calls": 1}

    with pytest.raises(ZeroDivisionError):
        watch(Watched(PID, 1), 1.0, wait, Instruments(tmp_path, machine.load_nvml, lambda: 0.0, cpu_s, 0.001))


def test_device_memory_joins_the_allocator_and_the_driver() -> None:
    peaks = {"uuid": "x", "allocated_peak_bytes": 5, "reserved_peak_bytes": 8}
    found = Used(Unmeasured("-"), Unmeasured("-"), 20)
    assert device_memory(peaks, found) == DeviceMemory(5, 8, 20)
    silent = device_memory(None, unused("switched off"))
    assert isinstance(silent.allocated_peak_bytes, Unmeasured)
    assert silent.process_bytes == Unmeasured("switched off")
