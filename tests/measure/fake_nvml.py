# ruff: noqa: N802 (the names are those of NVML)
"""An NVML without a driver: the names, error classes, codes and units of the module ``pynvml`` that are used.

``test_nvml`` holds it against the real module, where that is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As the real one: each code has a class of its own."""

    value = 999
    text = "Unknown Error"

    def __str__(self) -> str:
        return self.text


def _error(name: str, value: int, text: str) -> type[NVMLError]:
    return type(f"NVMLError_{name}", (NVMLError,), {"value": value, "text": text})


ERRORS: Mapping[str, type[NVMLError]] = {
    name: _error(name, value, text)
    for name, value, text in (
        ("Uninitialized", 1, "Uninitialized"),
        ("NotSupported", 3, "Not Supported"),
        ("NoPermission", 4, "Insufficient Permissions"),
        ("NotFound", 6, "Not Found"),
        ("DriverNotLoaded", 9, "Driver Not Loaded"),
        ("LibraryNotFound", 12, "NVML Shared Library Not Found"),
        ("FunctionNotFound", 13, "Function Not Found"),
        ("GpuIsLost", 15, "GPU is lost"),
        ("LibRmVersionMismatch", 18, "RM has detected an NVML/RM version mismatch."),
    )
}


@dataclass
class FakeGpu:
    """One GPU; ``energy_mj`` is what its counter reads, one value after the other, the last again and again."""

    uuid: str = "GPU-11111111-2222"
    name: str | bytes = "Fake H100"
    energy_mj: Sequence[int] = (1_000_000,)
    sm: int = 80
    memory: int = 30
    power_mw: int = 350_000
    clocks_mhz: tuple[int, int] = (1980, 2619)
    event_bits: int = 0
    processes: Mapping[int, int | None] = field(default_factory=dict)


class FakeNvml:
    """The module.

    Args:
        errors: function name → error class that it raises; ``"*"`` for all after ``nvmlInit``.
    """

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, *gpus: FakeGpu, errors: Mapping[str, type[NVMLError]] | None = None) -> None:
        self.gpus = gpus
        self.errors = dict(errors or {})
        self.initialized = 0
        self.reads = 0
        for name, error in ERRORS.items():
            setattr(self, f"NVMLError_{name}", error)

    def nvmlInit(self) -> None:
        if "nvmlInit" in self.errors:
            raise self.errors["nvmlInit"]
        self.initialized += 1

    def nvmlShutdown(self) -> None:
        self._check("nvmlShutdown")
        self.initialized -= 1

    def nvmlDeviceGetCount(self) -> int:
        self._check("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        self._check("nvmlDeviceGetHandleByIndex")
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        self._check("nvmlDeviceGetHandleByUUID")
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise ERRORS["NotFound"]

    def nvmlDeviceGetName(self, handle: FakeGpu) -> str | bytes:
        self._check("nvmlDeviceGetName")
        return handle.name

    def nvmlDeviceGetUUID(self, handle: FakeGpu) -> str:
        self._check("nvmlDeviceGetUUID")
        return handle.uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeGpu) -> int:
        self._check("nvmlDeviceGetTotalEnergyConsumption")
        value = handle.energy_mj[min(self.reads, len(handle.energy_mj) - 1)]
        self.reads += 1
        return value

    def nvmlDeviceGetUtilizationRates(self, handle: FakeGpu) -> Any:
        self._check("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=handle.sm, memory=handle.memory)

    def nvmlDeviceGetPowerUsage(self, handle: FakeGpu) -> int:
        self._check("nvmlDeviceGetPowerUsage")
        return handle.power_mw

    def nvmlDeviceGetClockInfo(self, handle: FakeGpu, kind: int) -> int:
        self._check("nvmlDeviceGetClockInfo")
        return handle.clocks_mhz[kind - 1]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: FakeGpu) -> int:
        self._check("nvmlDeviceGetCurrentClocksEventReasons")
        return handle.event_bits

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: FakeGpu) -> int:
        self._check("nvmlDeviceGetCurrentClocksThrottleReasons")
        return handle.event_bits

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeGpu) -> list[Any]:
        self._check("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in handle.processes.items()]

    def _check(self, name: str) -> None:
        if not self.initialized:
            raise ERRORS["Uninitialized"]
        for key in (name, "*"):
            if key in self.errors:
                raise self.errors[key]
