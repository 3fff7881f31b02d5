"""OpenVINO is an extra: what needs it runs where it is installed, the export is tested everywhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
from harness.errors import UnsupportedError

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
BACKEND = BACKENDS.get("openvino")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="no openvino")


def test_the_export_has_fixed_shapes(lowered):
    graph = onnx.load(str(lowered(BACKEND) / "model.onnx")).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [8, 1, 8, 8]
    assert BACKEND.static_batch


@needs_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_read_back(lowered, threads):
    executed = BACKEND.load(lowered(BACKEND), SessionOptions(threads, {})).executed()
    assert executed["threads"] == threads
    assert executed["provider"] == "CPU"


needs_bfloat16 = pytest.mark.skipif(
    "avx512_bf16" not in Path("/proc/cpuinfo").read_text(), reason="this CPU has no bfloat16"
)


@needs_openvino
@needs_bfloat16
def test_fp32_is_the_default_and_bfloat16_an_option(lowered, digits):
    batch = digits.data("test").batch(8)
    full, half = (BACKEND.load(lowered(BACKEND), SessionOptions(1, {"precision": value})) for value in ("f32", "bf16"))
    assert full.executed()["precision"] == "float32"
    assert half.executed()["precision"] == "bfloat16"
    assert BACKEND.load(lowered(BACKEND), SessionOptions(1, {})).executed()["precision"] == "float32"
    reference, outputs = full(batch)[0], half(batch)[0]
    assert outputs.dtype == np.float32
    assert np.linalg.norm(outputs - reference) / np.linalg.norm(reference) < 0.05


@needs_openvino
def test_another_precision_than_the_one_asked_for_is_refused(lowered, monkeypatch):
    monkeypatch.setattr("harness.backends.openvino.OpenVinoSession.precision", "f16")
    with pytest.raises(UnsupportedError, match="would run f16 instead of f32"):
        BACKEND.load(lowered(BACKEND), SessionOptions(1, {}))


@needs_openvino
def test_a_damaged_model_is_refused_with_a_reason(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UnsupportedError, match="OpenVINO refuses the model: "):
        BACKEND.load(tmp_path, SessionOptions(1, {}))


@needs_openvino
def test_a_measuring_process_loads_neither_torch_nor_onnx(lowered, fresh_python):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("openvino").load(Path({str(lowered(BACKEND))!r}), SessionOptions(1, {{}}))
session((np.zeros((8, 1, 8, 8), np.float32),))
print(*sys.modules)
"""
    assert not {"torch", "onnx"} & set(fresh_python(code).split())
