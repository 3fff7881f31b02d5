"""CUDA: what can be shown without a device, and, marked ``gpu``, what needs one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest, SessionOptions
from harness.backends.torch_eager import TorchSession
from harness.catalog import catalog, device_unavailable
from harness.errors import UnsupportedError
from harness.plan import plan
from harness.suite import parse_suite

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("torch")
SUITE = """\
suite: s
experiments:
  - name: e
    model: digits-cnn
    device: cuda
    variants:
      - backend: onnxruntime
"""


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    request = LowerRequest((np.zeros((1, 4), np.float32),), ("x",), ("y",), tmp_path, {})
    BACKEND.lower(torch.nn.Linear(4, 2), request)
    return tmp_path


def test_without_a_driver_every_trial_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no NVIDIA driver is loaded" in (device_unavailable("cuda", tmp_path) or "")
    monkeypatch.setattr("harness.catalog.device_unavailable", lambda device: device_unavailable(device, tmp_path))
    [experiment] = plan(parse_suite(SUITE, "s.yaml"), catalog())
    reasons = {t.name: t.unsupported or "" for t in experiment.trials}
    assert "no NVIDIA driver is loaded" in reasons["torch"]
    assert reasons["onnxruntime"] == "onnxruntime does not run on cuda here"


def test_a_driver_is_found_by_its_file(tmp_path: Path) -> None:
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: 575")
    assert device_unavailable("cuda", tmp_path) is None
    assert device_unavailable("cpu", tmp_path / "nowhere") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_torch_without_cuda_says_what_it_was_built_for(linear: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"torch .* (has no CUDA|is built for CUDA .*) and finds no CUDA device"):
        BACKEND.load(linear, SessionOptions(1, {}, "cuda"))


def test_device_resident_makes_no_sense_on_the_cpu(linear: Path) -> None:
    with pytest.raises(UnsupportedError, match="device_resident is for a device with memory of its own"):
        BACKEND.load(linear, SessionOptions(1, {"device_resident": True}))


def test_resident_inputs_are_uploaded_once_and_outputs_stay() -> None:
    session = TorchSession(torch.nn.Linear(4, 2).eval(), resident=True)
    uploads: list[int] = []
    upload = session._upload

    def counted(inputs: tuple[np.ndarray, ...]) -> tuple[torch.Tensor, ...]:
        uploads.append(1)
        return upload(inputs)

    session._upload = counted  # type: ignore[method-assign]
    batch = (np.ones((3, 4), np.float32),)
    assert all(isinstance(session.timed(batch), torch.Tensor) for _ in range(3))
    assert len(uploads) == 1
    assert isinstance(session(batch)[0], np.ndarray)  # checks still see host arrays


def test_what_is_timed_otherwise_is_the_call_itself() -> None:
    session = TorchSession(torch.nn.Linear(4, 2).eval())
    assert isinstance(session.timed((np.ones((3, 4), np.float32),)), tuple)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("resident", [False, True])
def test_on_a_device_outputs_are_those_of_the_cpu(linear: Path, resident: bool) -> None:
    batch = (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),)
    cpu = BACKEND.load(linear, SessionOptions(1, {}))
    cuda = BACKEND.load(linear, SessionOptions(1, {"device_resident": resident}, "cuda"))
    cuda.timed(batch)
    np.testing.assert_allclose(cuda(batch)[0], cpu(batch)[0], rtol=1e-4, atol=1e-5)
    assert cuda.executed()["provider"] == "cuda"
