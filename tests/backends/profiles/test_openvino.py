from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest, SessionOptions
from harness.backends.profiles.openvino import Node, fallbacks, format_of, kind_of, profile_openvino, run_of
from harness.schema import Execution, Unmeasured

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
BACKEND = BACKENDS.get("openvino")


def _profile(directory, batch, **options):
    how = SessionOptions(1, options)
    session = BACKEND.load(directory, how)
    told = BACKEND.profile(directory, how, session, [batch, batch], 4)
    assert isinstance(told, Execution)
    assert sum(use.share for use in told.operators) == pytest.approx(1.0)
    return told


def _counts(told):
    return {(use.name, use.format): use.count for use in told.operators}


@pytest.fixture(scope="module")
def batch(digits):
    return digits.data("test").batch(8)


def test_a_plain_model_runs_in_float32_when_float32_is_asked(lowered, batch):
    told = _profile(lowered(BACKEND), batch)
    assert told.source.startswith("OpenVINO counters")
    assert (told.basis, told.calls, told.fallbacks) == ("time", 4, ())
    assert told.formats == {"float32": 1.0}
    assert _counts(told)["Convolution", "float32"] == 3
    assert isinstance(told.outside_share, Unmeasured) or 0.0 < told.outside_share < 1.0


def test_bfloat16_is_told_where_the_processor_has_it(lowered, batch):
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    assert _profile(lowered(BACKEND), batch, precision="bf16").formats == {"bfloat16": 1.0}


class _Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(-1, 8, 3, 2, 16).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 4, -1) @ v
        return self.out(mixed.transpose(1, 2).reshape(-1, 8, 32))


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """A model of attention as OpenVINO reads it, and an input."""
    directory = tmp_path_factory.mktemp("attention")
    x = np.random.default_rng(0).normal(size=(2, 8, 32)).astype(np.float32)
    BACKEND.lower(_Attention().eval(), LowerRequest((x,), ("x",), ("y",), directory, {}))
    return directory / "model.onnx", x


def _profile_model(model, x):
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERF_COUNT": True}
    compiled = openvino.Core().compile_model(model, "CPU", properties)
    plain = compiled.create_infer_request()
    return profile_openvino(model, compiled, "float32", lambda batch: plain.infer(list(batch)), [(x,)], 4)


def test_nncf_int8_runs_integer_products_and_integer_attention(attention):
    nncf = pytest.importorskip("nncf")
    path, x = attention
    model = nncf.quantize(
        openvino.Core().read_model(path), nncf.Dataset([x]), subset_size=1, model_type=nncf.ModelType.TRANSFORMER
    )
    told = _profile_model(model, x)
    assert _counts(told)["FullyConnected", "int8"] == 2
    assert told.formats["int8"] > 0.5
    assert any(use.kind == "conversion" for use in told.operators)


def test_weights_only_compression_is_told_under_the_weights_format_and_is_no_fallback(attention):
    nncf = pytest.importorskip("nncf")
    path, x = attention
    model = nncf.compress_weights(openvino.Core().read_model(path), mode=nncf.CompressWeightsMode.INT8_ASYM)
    told = _profile_model(model, x)
    assert _counts(told)["FullyConnectedCompressed", "int8"] == 2
    assert told.fallbacks == ()


class _Counters:
    """A compiled model of two nodes whose counters are means since it was compiled, as OpenVINO's are."""

    def __init__(self, seconds):
        self._seconds = seconds  # node → of the first call, and of each later one
        self._calls = 0

    def create_infer_request(self):
        return self

    def infer(self, inputs, **options):
        self._calls += 1

    @property
    def profiling_info(self):
        executed = SimpleNamespace(name="EXECUTED")
        for name, (first, later) in self._seconds.items():
            mean = timedelta(seconds=(first + later * (self._calls - 1)) / self._calls)
            yield SimpleNamespace(node_name=name, real_time=mean, status=executed)
        yield SimpleNamespace(node_name="relu", real_time=timedelta(), status=SimpleNamespace(name="NOT_RUN"))

    def get_runtime_model(self):
        return self

    def get_ordered_ops(self):
        return [_Op(name) for name in self._seconds]


class _Op:
    def __init__(self, name):
        self._name = name

    def get_friendly_name(self):
        return self._name

    def get_type_name(self):
        return "ExecutionNode"

    def get_rt_info(self):
        return {"layerType": self._name, "primitiveType": "brgemm_avx512_f32", "originalLayersNames": ""}

    def inputs(self):
        return []


def test_the_slow_first_call_is_taken_out_of_the_counters():
    counters = _Counters({"Convolution": (0.0003, 0.0003), "FullyConnected": (0.02, 0.0001)})
    told = profile_openvino(SimpleNamespace(get_ops=list), counters, "float32", lambda _: None, [()], 20)
    assert [(use.name, round(use.share, 2)) for use in told.operators] == [
        ("Convolution", 0.75),
        ("FullyConnected", 0.25),
    ]


def test_profiling_loads_neither_torch_nor_onnx(lowered, fresh_python):
    code = f"""
import sys
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
backend, how, directory = BACKENDS.get("openvino"), SessionOptions(1, {{}}), Path({str(lowered(BACKEND))!r})
backend.profile(directory, how, backend.load(directory, how), [(np.zeros((8, 1, 8, 8), np.float32),)], 3)
print(*sys.modules)
"""
    assert not {"torch", "onnx", "nncf"} & set(fresh_python(code).split())


def _node(layer, kernel="jit_avx512_f32", inputs=("f32",), output="f32", holds=()):
    return Node(layer, kernel, inputs, output, holds)


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        (_node("Convolution"), "compute"),
        (_node("Reorder"), "conversion"),
        (_node("Subgraph", output="u8", holds=("Multiply", "FakeQuantize")), "conversion"),
        (_node("Subgraph", output="u8", holds=("Add", "FakeQuantize")), "other"),
        (_node("Subgraph", holds=("Multiply",)), "other"),
        (_node("Subgraph", holds=("MatMul", "Softmax")), "compute"),
        (_node("Pooling"), "other"),
    ],
)
def test_a_generated_kernel_is_what_it_holds(node, kind):
    assert kind_of(node) == kind


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (_node("FullyConnected", "brgemm_avx512_I8", ("u8", "i8")), ("FullyConnected", "int8")),
        (_node("FullyConnected", "brgemm_avx512_f32", ("f32", "u4")), ("FullyConnectedCompressed", "int4")),
        (_node("MatMul", "brgemm_avx512_bf16", ("bf16", "bf16")), ("MatMul", "bfloat16")),
        (_node("MatMul", "ref_any", ("f32", "f32"), "f16"), ("MatMul", "float16")),
        (_node("Subgraph", holds=("MatMul", "Softmax")), ("Subgraph (attention)", "float32")),
        (_node("Subgraph", "jit_avx512_I8", ("f32",), "u8", ("FakeQuantize",)), ("Subgraph (quantization)", "int8")),
    ],
)
def test_the_kernel_tells_the_format(node, expected):
    run = run_of(node, 0.0)
    assert (run.name, run.format) == expected


def test_arithmetic_that_was_not_asked_is_said():
    nodes = [_node("Convolution", "brgconv_avx512_bf16"), _node("Convolution"), _node("MatMul", "ref_any")]
    assert fallbacks(nodes, "float32") == [
        "float32 asked: 1 of 2 convolutions ran in bfloat16",
        "1 MatMul ran without an optimized kernel",
    ]
    assert format_of(nodes[2], "compute") == "float32"
