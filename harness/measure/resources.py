"""A block of its own in which a worker calls back to back while its parent watches CPU, GPU and energy.

Nothing is sampled inside the worker. Everything that looks at the machine is an instrument that can be replaced,
so that the tests watch a machine that exists on paper.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.measure.contention import cpu_clock_s
from harness.measure.energy import EnergyCounter, energy_of, least_window_s
from harness.measure.nvml import UTILIZATION_PERIOD_S, NvmlGpu, find_gpu
from harness.measure.processes import thread_times, tree_pids
from harness.measure.rapl import find_rapl
from harness.measure.utilization import Sample, process_bytes, utilization
from harness.schema import DeviceMemory, Energy, Unmeasured, Utilization

Sustain = Callable[[float], Mapping[str, Any]]  # seconds → ``calls`` that were made in about that time


@dataclass(frozen=True)
class Instruments:
    """What looks at the machine.

    Attributes:
        root: where /proc and /sys are.
        nvml: returns the module ``pynvml`` or raises ImportError.
        cpu_s: CPU seconds of a process by its exact clock; None when it is gone.
        interval_s: time between two samples.
    """

    root: Path = Path("/")
    nvml: Callable[[], Any] = lambda: importlib.import_module("pynvml")
    now: Callable[[], float] = time.perf_counter
    cpu_s: Callable[[int], float | None] = cpu_clock_s
    interval_s: float = 0.05


@dataclass(frozen=True)
class Watched:
    """The process that is watched.

    Attributes:
        examples_per_call: the batch size.
        gpu: whether it runs on a GPU; ``gpu_uuid`` is the one, where the runtime says it.
    """

    pid: int
    examples_per_call: int
    gpu: bool = False
    gpu_uuid: str | None = None


@dataclass(frozen=True)
class Used:
    """What the block used; ``process_bytes`` is the device memory that the driver counts for the process."""

    utilization: Utilization | Unmeasured
    energy: Energy | Unmeasured
    process_bytes: int | Unmeasured

    def marked(self, *, disturbed: bool) -> Used:
        """Return it with what is known of the time it was taken in."""
        use = self.utilization
        return self if isinstance(use, Unmeasured) else replace(self, utilization=replace(use, disturbed=disturbed))


def watch(watched: Watched, seconds: float, sustain: Sustain, tools: Instruments) -> Used:
    """Let the worker call for ``seconds``, or longer where a counter needs it, and return what that used.

    What ``sustain`` raises goes through.
    """
    gpu = find_gpu(watched.gpu_uuid, tools.nvml) if watched.gpu else None
    counter = find_rapl(tools.root) if gpu is None else gpu
    try:
        return _watch(watched, _window_s(seconds, gpu, counter), sustain, _Eye(watched, tools, gpu, counter))
    finally:
        if isinstance(gpu, NvmlGpu):
            gpu.close()


def device_memory(peaks: Mapping[str, Any] | None, used: Used) -> DeviceMemory:
    """Join what the runtime's allocator tells of itself, if it does, with what the driver counts."""
    unknown = Unmeasured("the runtime does not tell what its allocator holds")
    return DeviceMemory(
        allocated_peak_bytes=unknown if peaks is None else int(peaks["allocated_peak_bytes"]),
        reserved_peak_bytes=unknown if peaks is None else int(peaks["reserved_peak_bytes"]),
        process_bytes=used.process_bytes,
    )


def unused(reason: str) -> Used:
    """Return what is known when nothing was watched."""
    return Used(Unmeasured(reason), Unmeasured(reason), Unmeasured(reason))


def _window_s(seconds: float, gpu: NvmlGpu | Unmeasured | None, counter: EnergyCounter | Unmeasured) -> float:
    """Return the window that the slowest counter in use needs, and no less than was asked for."""
    least = [seconds]
    if not isinstance(counter, Unmeasured):
        least.append(least_window_s(counter))
    if isinstance(gpu, NvmlGpu):
        least.append(2 * UTILIZATION_PERIOD_S)  # what it tells in the first period is of the time before
    return max(least)


class _Eye:
    """Takes samples of one process and all that it started."""

    def __init__(
        self,
        watched: Watched,
        tools: Instruments,
        gpu: NvmlGpu | Unmeasured | None,
        counter: EnergyCounter | Unmeasured,
    ) -> None:
        self.tools = tools
        self.gpu = gpu
        self.counter = counter
        self._pid = watched.pid

    def sample(self) -> Sample:
        pids = tree_pids(self.tools.root, self._pid)
        clocks = {pid: self.tools.cpu_s(pid) for pid in pids}
        return Sample(
            at_s=self.tools.now(),
            processes={pid: seconds for pid, seconds in clocks.items() if seconds is not None},
            threads={tid: thread for pid in pids for tid, thread in thread_times(self.tools.root, pid).items()},
            energy_j=self.counter if isinstance(self.counter, Unmeasured) else self.counter.joules(),
            gpu=self.gpu.sample(pids) if isinstance(self.gpu, NvmlGpu) else None,
        )


def _watch(watched: Watched, seconds: float, sustain: Sustain, eye: _Eye) -> Used:
    samples, calls = _sampled(eye, lambda: int(sustain(seconds)["calls"]))
    window_s = samples[-1].at_s - samples[0].at_s
    name = eye.gpu.name if isinstance(eye.gpu, NvmlGpu) else eye.gpu
    energy: Energy | Unmeasured
    if isinstance(eye.counter, Unmeasured):
        energy = eye.counter
    else:
        readings = [sample.energy_j for sample in samples]
        energy = energy_of(readings, eye.counter, window_s, calls * watched.examples_per_call)
    return Used(utilization(samples, watched.pid, calls, name), energy, process_bytes(samples))


def _sampled(eye: _Eye, work: Callable[[], int]) -> tuple[list[Sample], int]:
    """Take a sample, work, take a last one, and in a thread some in between."""
    samples, done = [eye.sample()], threading.Event()

    def look() -> None:
        while not done.wait(eye.tools.interval_s):
            samples.append(eye.sample())

    with ThreadPoolExecutor(1, "harness-watch") as pool:
        looking = pool.submit(look)
        try:
            result = work()
        finally:
            done.set()
    looking.result()  # an error in the thread is an error of the harness
    return [*samples, eye.sample()], result
