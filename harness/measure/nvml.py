"""One GPU through NVML (module ``pynvml``): each quantity is a value, or why there is none.

Facts of the interface are from NVIDIA's NVML API reference. The module is a parameter, so that the tests have a
faithful one without a driver.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.host.gpu import word
from harness.schema import Unmeasured

ENERGY_PERIOD_S = 0.1  # updated every 20 to 100 ms, by product
# nvmlUtilization_t: "the sample period may be between 1 second and 1/6 second, depending on the product".
UTILIZATION_PERIOD_S = 1.0
MHZ = 1e6

_REMEDIES = {
    "NVMLError_LibraryNotFound": "no NVIDIA driver ({}): install one, or measure on a machine with an NVIDIA GPU",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is not loaded ({}): sudo modprobe nvidia",
    "NVMLError_LibRmVersionMismatch": "the NVIDIA driver was updated under a running kernel ({}): reboot",
    "NVMLError_NotSupported": "this GPU does not give it ({})",
    "NVMLError_NoPermission": "the driver does not let this user read it ({}): run as root",
    "NVMLError_Uninitialized": "NVML was shut down in the middle ({})",
    "NVMLError_GpuIsLost": "the GPU has fallen off the bus ({}): reboot",
    "NVMLError_NotFound": "NVML does not know this GPU ({})",
}
# nvmlClocksEventReason…: bit → name. Two of the API's bits slow nothing down: idle, and clocks set by the user.
_THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}

T = TypeVar("T")


@dataclass(frozen=True)
class GpuSample:
    """What one GPU says at one moment."""

    sm: float | Unmeasured
    memory: float | Unmeasured
    power_w: float | Unmeasured
    sm_clock_hz: float | Unmeasured
    memory_clock_hz: float | Unmeasured
    throttling: frozenset[str] | Unmeasured
    process_bytes: int | Unmeasured


class NvmlGpu:
    """One GPU of an initialized NVML. Its energy counter is that of the whole board."""

    period_s = ENERGY_PERIOD_S
    scope = "the whole GPU board, everything else that runs there and idle included; the CPU is not in it"

    def __init__(self, nvml: Any, handle: Any, name: str, uuid: str) -> None:
        self._nvml = nvml
        self._handle = handle
        self.name = name
        self.source = f"nvml:{uuid}"

    def joules(self) -> float | Unmeasured:
        """Return joules since the driver was loaded (Volta and newer)."""
        return self._ask(lambda n, h: n.nvmlDeviceGetTotalEnergyConsumption(h) / 1e3)

    def sample(self, pids: Collection[int]) -> GpuSample:
        """Return the GPU's state now, and the memory that the driver counts for these processes."""
        rates = self._ask(lambda n, h: n.nvmlDeviceGetUtilizationRates(h))
        return GpuSample(
            sm=rates if isinstance(rates, Unmeasured) else rates.gpu / 100,
            memory=rates if isinstance(rates, Unmeasured) else rates.memory / 100,
            power_w=self._ask(lambda n, h: n.nvmlDeviceGetPowerUsage(h) / 1e3),
            sm_clock_hz=self._ask(lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM) * MHZ),
            memory_clock_hz=self._ask(lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM) * MHZ),
            throttling=self._throttling(),
            process_bytes=self._process_bytes(pids),
        )

    def close(self) -> None:
        """Shut NVML down; it counts how often it was initialized."""
        self._ask(lambda n, _: n.nvmlShutdown())

    def _throttling(self) -> frozenset[str] | Unmeasured:
        bits = self._ask(self._clock_bits)
        if isinstance(bits, Unmeasured):
            return bits
        return frozenset(name for bit, name in _THROTTLING.items() if bits & bit)

    def _process_bytes(self, pids: Collection[int]) -> int | Unmeasured:
        found = self._ask(lambda n, h: n.nvmlDeviceGetComputeRunningProcesses(h))
        if isinstance(found, Unmeasured):
            return found
        own = [process.usedGpuMemory for process in found if process.pid in pids]
        if not own:
            return Unmeasured(
                "NVML does not list the process: it holds no CUDA context, or runs in a container with process ids of "
                "its own (docker run --pid=host)"
            )
        if any(size is None for size in own):
            return Unmeasured("the driver does not count memory by process here (Windows WDDM or a virtual GPU)")
        return int(sum(own))

    @staticmethod
    def _clock_bits(nvml: Any, handle: Any) -> int:
        """Ask under the name of today, else under that before driver 535: either library may be older."""
        try:
            return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        except (AttributeError, nvml.NVMLError_FunctionNotFound):
            return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

    def _ask(self, question: Callable[[Any, Any], T]) -> T | Unmeasured:
        try:
            return question(self._nvml, self._handle)
        except self._nvml.NVMLError as error:
            return Unmeasured(_reason(error))


def find_gpu(
    uuid: str | None, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
) -> NvmlGpu | Unmeasured:
    """Return the GPU with this UUID, as CUDA and NVML number GPUs differently; None for the only one there is.

    The caller closes it. Without a GPU, a driver or pynvml the answer is why.
    """
    try:
        nvml = load()
    except ImportError:
        return Unmeasured("pynvml is not installed (pip install nvidia-ml-py)")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Unmeasured(_reason(error))
    try:
        found = _open(nvml, uuid)
    except nvml.NVMLError as error:
        found = Unmeasured(_reason(error))
    if isinstance(found, Unmeasured):
        nvml.nvmlShutdown()
    return found


def _open(nvml: Any, uuid: str | None) -> NvmlGpu | Unmeasured:
    if uuid is None:
        count = nvml.nvmlDeviceGetCount()
        if count != 1:
            return Unmeasured(f"there are {count} GPUs, and the runtime does not say which one it uses")
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
    else:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
    return NvmlGpu(nvml, handle, word(nvml.nvmlDeviceGetName(handle)), word(nvml.nvmlDeviceGetUUID(handle)))


def _reason(error: Exception) -> str:
    text = _REMEDIES.get(type(error).__name__)
    return f"NVML: {error}" if text is None else text.format(error)
