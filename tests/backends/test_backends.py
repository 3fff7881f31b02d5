"""What every real backend promises. OpenVINO joins where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import Available, SessionOptions
from harness.errors import OutOfMemoryError, UnknownNameError, UnsupportedError

torch = pytest.importorskip("torch")
NAMES = ["inductor", "onnxruntime", "openvino", "torch"]


@pytest.fixture(params=NAMES)
def backend(request):
    backend = BACKENDS.get(request.param)
    if not isinstance(backend.probe("build"), Available):
        pytest.skip(backend.probe("build").reason)
    return backend


def test_the_registry_holds_every_backend():
    assert list(BACKENDS) == ["fake", *NAMES]


def test_a_misspelt_backend_is_answered_with_the_right_name():
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        BACKENDS.get("onnx-runtime")


def test_importing_the_backends_imports_no_runtime(fresh_python):
    loaded = fresh_python("import sys, harness.backends; print(*sys.modules)").split()
    assert not {"torch", "onnx", "onnxruntime", "openvino", "onnxscript"} & set(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_distribution_is_a_reason_with_a_remedy(name, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/g++")
    backend = BACKENDS.get(name)
    monkeypatch.setattr(type(backend), "distributions", ("no-such-distribution",))
    assert "pip install 'optimization-harness[" in backend.probe("measure").reason


def test_outputs_are_those_of_the_module(backend, lowered, network, digits):
    batch = digits.data("test").batch(8)
    with torch.inference_mode():
        reference = network(torch.from_numpy(batch[0])).numpy()
    session = backend.load(lowered(backend), SessionOptions(1, {}))
    (outputs,) = session(batch)
    assert outputs.dtype == np.float32
    assert outputs.flags.c_contiguous
    np.testing.assert_allclose(outputs, reference, rtol=1e-3, atol=1e-3)
    session.close()


def test_outputs_survive_the_next_call(backend, lowered, digits):
    session = backend.load(lowered(backend), SessionOptions(1, {}))
    (first,) = session(digits.data("test").batch(8))
    kept = first.copy()
    session(digits.data("test").batch(8, start=8))
    np.testing.assert_array_equal(first, kept)


def test_the_session_tells_threads_provider_and_precision(backend, lowered):
    executed = backend.load(lowered(backend), SessionOptions(1, {})).executed()
    assert executed["threads"] == 1
    assert executed["precision"] == "float32"
    assert "cpu" in executed["provider"].lower()


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_value_of_an_option_is_refused_with_the_known_ones(name):
    backend = BACKENDS.get(name)
    for option, values in backend.options.items():
        assert backend.option({}, option) == values[0]
        with pytest.raises(UnsupportedError, match=f"no {option}=wrong; it has: {values[0]}"):
            backend.option({option: "wrong"}, option)


class Greedy(torch.nn.Module):
    """Asks for four petabytes."""

    def forward(self, x):
        return x.flatten(1).sum(1) + torch.ones(2**50).sum()


def test_torch_running_out_of_memory_is_named_so(request_for, digits):
    backend = BACKENDS.get("torch")
    request = request_for()
    backend.lower(Greedy(), request)
    session = backend.load(request.directory, SessionOptions(1, {}))
    with pytest.raises(OutOfMemoryError, match="allocate memory"):
        session(request.example_inputs)


def test_onnx_runtime_running_out_of_memory_is_named_so(tmp_path, digits):
    onnx = pytest.importorskip("onnx")
    backend = BACKENDS.get("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["input"], ["shape"]),
            helper.make_node("Mul", ["shape", "huge"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["filled"]),
            helper.make_node("ReduceSum", ["filled"], ["output"], keepdims=0),
        ],
        "greedy",
        [helper.make_tensor_value_info("input", kind.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("output", kind.FLOAT, [])],
        [helper.make_tensor("huge", kind.INT64, [4], [2**16, 2**16, 2**4, 2**4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(tmp_path / "model.onnx"))
    session = backend.load(tmp_path, SessionOptions(1, {}))
    with pytest.raises(OutOfMemoryError):
        session(digits.data("test").batch(2))
