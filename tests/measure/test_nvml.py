"""NVML without a driver, and what the real module says of the fake one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.measure.nvml import GpuSample, NvmlGpu, find_gpu
from harness.schema import Unmeasured
from tests.measure.fake_nvml import ERRORS, FakeGpu, FakeNvml


def found(nvml: FakeNvml, uuid: str | None = None) -> NvmlGpu:
    gpu = find_gpu(uuid, lambda: nvml)
    assert isinstance(gpu, NvmlGpu)
    return gpu


def sample(nvml: FakeNvml) -> GpuSample:
    return found(nvml).sample([7])


def reason(value: object) -> str:
    assert isinstance(value, Unmeasured)
    return value.reason


def test_a_gpu_tells_everything_in_si_units() -> None:
    nvml = FakeNvml(FakeGpu(event_bits=0x01 | 0x02 | 0x04 | 0x40, processes={7: 500, 8: 900}))
    seen = sample(nvml)
    assert (seen.sm, seen.memory, seen.power_w) == (0.8, 0.3, 350.0)
    assert (seen.sm_clock_hz, seen.memory_clock_hz) == (1.98e9, 2.619e9)
    assert seen.throttling == {"power cap", "hardware thermal slowdown"}  # idle and set clocks slow nothing
    assert seen.process_bytes == 500
    assert found(nvml).joules() == 1000.0


def test_nvml_is_shut_down_as_often_as_it_was_opened() -> None:
    nvml = FakeNvml(FakeGpu())
    found(nvml).close()
    assert nvml.initialized == 0
    assert isinstance(find_gpu("other", lambda: nvml), Unmeasured)
    assert nvml.initialized == 0


def test_a_gpu_is_found_by_the_uuid_that_the_runtime_tells_with_or_without_prefix() -> None:
    nvml = FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b", b"Second"))
    assert found(nvml, "GPU-b").name == "Second"
    assert found(nvml, "b").source == "nvml:GPU-b"
    assert "NVML does not know this GPU (Not Found)" in reason(find_gpu("c", lambda: nvml))


def test_without_a_uuid_only_a_single_gpu_is_taken() -> None:
    assert "there are 2 GPUs" in reason(find_gpu(None, lambda: FakeNvml(FakeGpu("GPU-a"), FakeGpu("GPU-b"))))
    assert "there are 0 GPUs" in reason(find_gpu(None, FakeNvml))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("LibraryNotFound", r"no NVIDIA driver \(NVML Shared Library Not Found\)"),
        ("DriverNotLoaded", r"not loaded \(Driver Not Loaded\): sudo modprobe nvidia"),
        ("LibRmVersionMismatch", "reboot"),
        ("NoPermission", r"\(Insufficient Permissions\): run as root"),
        ("FunctionNotFound", "NVML: Function Not Found"),
    ],
)
def test_why_nvml_does_not_start_is_the_reason_with_a_remedy(error: str, words: str) -> None:
    nvml = FakeNvml(FakeGpu(), errors={"nvmlInit": ERRORS[error]})
    assert re.search(words, reason(find_gpu(None, lambda: nvml)))


def test_without_pynvml_the_reason_says_how_to_get_it() -> None:
    def missing() -> Any:
        raise ModuleNotFoundError("pynvml")

    assert "pip install nvidia-ml-py" in reason(find_gpu(None, missing))


def test_what_one_gpu_does_not_give_leaves_the_rest() -> None:
    refused = {
        "nvmlDeviceGetUtilizationRates": ERRORS["NotSupported"],
        "nvmlDeviceGetPowerUsage": ERRORS["NoPermission"],
    }
    seen = sample(FakeNvml(FakeGpu(processes={7: 500}), errors=refused))
    assert reason(seen.sm) == reason(seen.memory) == "this GPU does not give it (Not Supported)"
    assert "run as root" in reason(seen.power_w)
    assert seen.sm_clock_hz == 1.98e9
    assert seen.throttling == frozenset()


def test_a_gpu_that_falls_off_the_bus_is_never_zero() -> None:
    nvml = FakeNvml(FakeGpu())
    gpu = found(nvml)
    nvml.errors["*"] = ERRORS["GpuIsLost"]
    seen = gpu.sample([7])
    for value in (*vars(seen).values(), gpu.joules()):
        assert "fallen off the bus (GPU is lost): reboot" in reason(value)


def test_a_shutdown_in_the_middle_is_a_reason() -> None:
    nvml = FakeNvml(FakeGpu())
    gpu = found(nvml)
    gpu.close()
    assert "shut down in the middle (Uninitialized)" in reason(gpu.joules())
    gpu.close()  # once more does no harm


@pytest.mark.parametrize("error", ["FunctionNotFound", "NotSupported"])
def test_an_older_driver_tells_throttling_under_its_old_name(error: str) -> None:
    refused = {"nvmlDeviceGetCurrentClocksEventReasons": ERRORS[error]}
    seen = sample(FakeNvml(FakeGpu(event_bits=0x08), errors=refused))
    if error == "FunctionNotFound":
        assert seen.throttling == {"hardware slowdown"}
    else:
        assert isinstance(seen.throttling, Unmeasured)


def test_memory_of_a_process_that_nvml_does_not_count_is_unknown() -> None:
    assert "--pid=host" in reason(sample(FakeNvml(FakeGpu(processes={8: 900}))).process_bytes)
    assert "does not count memory by process" in reason(sample(FakeNvml(FakeGpu(processes={7: None}))).process_bytes)


def test_the_fake_has_the_real_modules_names_codes_and_texts() -> None:
    real = pytest.importorskip("pynvml")
    for name in [n for n in vars(FakeNvml) if n.startswith(("nvml", "NVML_"))]:
        assert hasattr(real, name), name
    assert (real.NVML_CLOCK_SM, real.NVML_CLOCK_MEM) == (FakeNvml.NVML_CLOCK_SM, FakeNvml.NVML_CLOCK_MEM)
    for name, error in ERRORS.items():
        there = real.NVMLError(error.value)
        assert type(there).__name__ == f"NVMLError_{name}"
        assert issubclass(type(there), real.NVMLError)
        assert str(there) == error.text


def test_the_bits_of_throttling_are_those_of_the_real_module() -> None:
    from harness.measure.nvml import _THROTTLING

    real = pytest.importorskip("pynvml")
    names = (
        "SwPowerCap", "HwSlowdown", "SyncBoost", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown",
    )  # fmt: skip
    assert tuple(_THROTTLING) == tuple(getattr(real, f"nvmlClocksThrottleReason{name}") for name in names)


@pytest.mark.gpu
def test_a_real_gpu_answers() -> None:
    gpu = find_gpu(None)
    if isinstance(gpu, Unmeasured):
        pytest.skip(gpu.reason)
    try:
        seen = gpu.sample([])
        assert isinstance(seen.power_w, Unmeasured) or seen.power_w > 0
        assert isinstance(seen.sm, Unmeasured) or 0 <= seen.sm <= 1
    finally:
        gpu.close()
