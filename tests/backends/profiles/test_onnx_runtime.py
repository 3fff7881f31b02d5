from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest, SessionOptions
from harness.backends.profiles.onnx_runtime import fallbacks, format_of, kind_of, nodes_of_calls, packed_format
from harness.passes import PASSES, BuildContext
from harness.schema import Execution, Unmeasured

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
BACKEND = BACKENDS.get("onnxruntime")


def _profile(directory, batch, **options):
    how = SessionOptions(1, options)
    told = BACKEND.profile(directory, how, BACKEND.load(directory, how), [batch, batch], 4)
    assert isinstance(told, Execution)
    assert sum(use.share for use in told.operators) == pytest.approx(1.0)
    return told


def _counts(told):
    return {(use.name, use.format): use.count for use in told.operators}


@pytest.fixture(scope="module")
def batch(digits):
    return digits.data("test").batch(8)


@pytest.fixture(scope="module")
def quantized(lowered, digits, tmp_path_factory):
    """The trained network with a pass of ONNX Runtime's quantizer applied."""
    context = BuildContext(digits, 32, 0, functools.cache(digits.data))

    def make(name):
        directory = shutil.copytree(lowered(BACKEND), tmp_path_factory.mktemp("quantized") / "artifact")
        PASSES.get(name)().apply_lowered("onnxruntime", directory, context)
        return directory

    return functools.cache(make)


def test_a_plain_model_runs_in_float32(lowered, batch):
    told = _profile(lowered(BACKEND), batch)
    assert told.source.startswith("ONNX Runtime profile")
    assert (told.basis, told.calls, told.fallbacks) == ("time", 4, ())
    assert told.formats == {"float32": 1.0}
    assert _counts(told)["Conv", "float32"] == 3
    assert isinstance(told.outside_share, Unmeasured) or 0.0 < told.outside_share < 1.0


def test_a_static_int8_model_runs_fused_integer_operators(quantized, batch):
    told = _profile(quantized("quantize.static-int8"), batch)
    counts = _counts(told)
    assert counts["QLinearConv", "int8"] == 3
    assert counts["QGemm", "int8"] == 1
    assert told.formats == {"int8": 1.0}
    assert told.fallbacks == ()
    assert {use.name for use in told.operators if use.kind == "conversion"} == {"QuantizeLinear", "DequantizeLinear"}


def test_a_quantized_model_that_is_not_fused_says_so(quantized, batch):
    told = _profile(quantized("quantize.static-int8"), batch, graph_optimization="disable")
    assert told.formats == {"float32": 1.0}
    assert told.fallbacks == (
        "the model is quantized, but 3 Conv, 1 Gemm ran in float32",
        "7 QuantizeLinear/DequantizeLinear pairs were not fused into integer operators",
    )
    assert told.share("conversion") > 0


def test_a_dynamic_int8_model_runs_integer_convolutions_between_conversions(quantized, batch):
    told = _profile(quantized("quantize.dynamic-int8"), batch)
    counts = _counts(told)
    assert counts["ConvInteger", "int8"] == 3
    assert told.formats == {"int8": 1.0}
    assert {"DynamicQuantizeLinear", "Cast"} <= {use.name for use in told.operators if use.kind == "conversion"}


def test_float16_that_has_no_kernel_is_told(lowered, batch, tmp_path):
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    model = onnx.load(str(lowered(BACKEND) / "model.onnx"))
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), str(tmp_path / "model.onnx"))
    told = _profile(tmp_path, batch)
    assert told.formats == {"float32": 1.0}
    assert told.fallbacks[0].startswith("float16 asked: 3 Conv, 1 Gemm ran in float32")


@pytest.mark.parametrize("bits", [4, 8])
def test_the_bits_of_packed_weights_are_read_from_the_file(bits, tmp_path):
    quantizer = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    batch = (np.ones((2, 3, 64), np.float32),)
    BACKEND.lower(torch.nn.Linear(64, 64, bias=False), LowerRequest(batch, ("x",), ("y",), tmp_path, {}))
    packer = quantizer.MatMulNBitsQuantizer(onnx.load(str(tmp_path / "model.onnx")), bits=bits, block_size=32)
    packer.process()
    onnx.save(packer.model.model, str(tmp_path / "model.onnx"))
    assert packed_format(tmp_path / "model.onnx") == f"int{bits}"
    told = _profile(tmp_path, batch)
    assert _counts(told)["MatMulNBits", f"int{bits}"] == 1
    assert told.fallbacks == ()


def test_nothing_is_left_on_disk(lowered, batch, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(Path.cwd().iterdir())
    _profile(lowered(BACKEND), batch)
    assert list(tmp_path.iterdir()) == []
    assert set(Path.cwd().iterdir()) == before


def test_profiling_loads_neither_torch_nor_onnx(lowered, fresh_python):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
backend, how, directory = BACKENDS.get("onnxruntime"), SessionOptions(1, {{}}), Path({str(lowered(BACKEND))!r})
backend.profile(directory, how, backend.load(directory, how), [(np.zeros((8, 1, 8, 8), np.float32),)], 3)
print(*sys.modules)
"""
    assert not {"torch", "onnx", "onnxscript"} & set(fresh_python(code).split())


def _event(name, start, duration, op="Add", **args):
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": {"op_name": op, **args}
    }  # fmt: skip


def _run(start, duration):
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": duration}


def test_nodes_belong_to_the_call_in_which_they_ran():
    events = [_event("a", 10, 3), _run(9, 10), _event("a", 25, 4), _run(24, 10), {"cat": "Session", "name": "x"}]
    assert [[node["dur"] for node in call] for call in nodes_of_calls(events)] == [[3], [4]]


def test_a_loop_does_not_count_the_time_of_the_nodes_inside_it_twice():
    inner = [_event("a", 2, 3), _event("if", 6, 10, op="If"), _event("b", 7, 4)]
    [call] = nodes_of_calls([_event("loop", 1, 20, op="Loop"), *inner, _run(0, 30)])
    assert [node["dur"] for node in call] == [7, 3, 6, 4]


def test_signed_activations_are_told():
    types = [{"int8": [1, 8]}, {"float": []}]
    said = fallbacks([[_event("a", 0, 1, op="QLinearConv", input_type_shape=types)]], 1, 1)
    assert said == ["1 QLinearConv took signed INT8 activations (S8S8)"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("FusedConv", "compute"), ("QAttention", "compute"), ("MatMulIntegerToFloat", "compute"),
        ("ReorderInput", "conversion"), ("DynamicQuantizeLinear", "conversion"), ("Softmax", "other"),
    ],
)  # fmt: skip
def test_operators_have_kinds(name, kind):
    assert kind_of(name) == kind


def test_a_node_without_tensors_has_no_format():
    assert format_of("Constant", {}) == ""
    assert format_of("Constant", {"output_type_shape": [{"float16": [1]}]}) == "float16"
