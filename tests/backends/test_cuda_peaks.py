"""What a session tells of GPU memory: with a torch that has a GPU on paper, and with a real one where there is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from harness.backends.torch_eager import TorchSession, cuda_device, cuda_peaks  # noqa: E402 (needs torch)


class FakeCuda:
    """The part of ``torch.cuda`` that is used; keeps the order in which it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def synchronize(self, device: Any) -> None:
        self.asked.append("synchronize")

    def reset_peak_memory_stats(self, device: Any) -> None:
        self.asked.append("reset")

    def get_device_properties(self, device: Any) -> Any:
        return SimpleNamespace(uuid="11111111-2222")

    def max_memory_allocated(self, device: Any) -> int:
        self.asked.append("allocated")
        return 5

    def max_memory_reserved(self, device: Any) -> int:
        return 8


def test_the_allocators_peaks_are_read_when_all_work_is_done() -> None:
    cuda = FakeCuda()
    peaks = cuda_peaks(SimpleNamespace(cuda=cuda), "cuda:0")
    assert peaks == {"uuid": "11111111-2222", "allocated_peak_bytes": 5, "reserved_peak_bytes": 8}
    assert cuda.asked == ["synchronize", "allocated"]
    for name in ("synchronize", "reset_peak_memory_stats", "get_device_properties"):
        assert hasattr(torch.cuda, name)
    for name in ("max_memory_allocated", "max_memory_reserved"):
        assert hasattr(torch.cuda, name)


def test_a_module_on_the_cpu_or_without_parameters_has_no_device_memory() -> None:
    session = TorchSession(torch.nn.Linear(2, 2), channels_last=False)
    session.reset_device_memory()
    assert session.device_memory() is None
    assert cuda_device(torch.nn.ReLU()) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_on_a_real_gpu_tells_its_peaks() -> None:
    module = torch.nn.Linear(64, 64).cuda()
    device = cuda_device(module)
    torch.cuda.reset_peak_memory_stats(device)
    block = torch.ones(10_000_000, device=device)
    peaks = cuda_peaks(torch, device)
    del block
    assert 40_000_000 < peaks["allocated_peak_bytes"] <= peaks["reserved_peak_bytes"]
