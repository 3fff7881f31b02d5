from __future__ import annotations

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
from harness.errors import InvalidOutputError, UnsupportedError
from harness.onnx_files import MODEL_FILE, weights_among_inputs
from harness.passes import PASSES, BuildContext
from harness.schema import InputSpec
from harness.userdata import synthetic
from harness.zoo import Model, OnnxFile
from tests.tiny_onnx import linear, node, onnx, save, tensor

pytest.importorskip("onnxruntime")

Constant = PASSES.get("onnx.constant-weights")
Static = PASSES.get("quantize.static-int8")
Dynamic = PASSES.get("quantize.dynamic-int8")
X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def context(path, *inputs):
    inputs = inputs or (InputSpec("x", "float32", ("batch", 4)),)

    def data(split):
        return synthetic(inputs, 64, split)

    model = Model("m", "", "", lambda seed: OnnxFile(path), data, "", "", "", form="onnx",
                  input_names=tuple(i.name for i in inputs), inputs=inputs)  # fmt: skip
    return BuildContext(model, 1, 0, data)


def apply(item, path, *inputs):
    return item.apply_lowered("onnxruntime", path.parent, context(path, *inputs))


def run(path, *arrays):
    return BACKENDS.get("onnxruntime").load(path.parent, SessionOptions(1, {}))(arrays or (X,))[0]


def test_weights_among_the_inputs_become_constants_and_the_outputs_stay(tmp_path):
    path = linear(tmp_path / MODEL_FILE, listed=True, ir_version=3, opset=9)
    before = run(path)
    assert apply(Constant(), path).detail == "2 weights are constants now"
    assert weights_among_inputs(path) == set()
    model = onnx.load(str(path))
    assert [v.name for v in model.graph.input] == ["x"]
    assert model.ir_version == 4
    assert np.array_equal(run(path), before)
    onnx.checker.check_model(str(path))


def test_external_weights_stay_where_they_are(tmp_path):
    path = linear(tmp_path / MODEL_FILE, listed=True)
    before = run(path)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.data", size_threshold=0)
    apply(Constant(), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [MODEL_FILE, "w.data"]
    assert np.array_equal(run(path), before)


def test_without_weights_among_the_inputs_the_pass_is_invalid(tmp_path):
    path = linear(tmp_path / MODEL_FILE)
    before = path.read_bytes()
    with pytest.raises(InvalidOutputError, match="changed nothing: no weight is among the inputs"):
        apply(Constant(), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("backend", ["torch", "inductor"])
def test_backends_without_an_onnx_graph_say_so(backend):
    assert "no ONNX graph" in Constant().unsupported_on(backend)
    assert not Constant().unsupported_on("onnxruntime")


@pytest.mark.parametrize("item", [Static(), Dynamic()], ids=["static", "dynamic"])
@pytest.mark.parametrize("opset", [9, 11, 12])
def test_a_model_of_an_old_opset_is_converted_and_quantized(tmp_path, item, opset):
    path = linear(tmp_path / MODEL_FILE, opset=opset)
    before = run(path)
    assert apply(item, path).detail.startswith("1 of 1 ")
    assert next(o.version for o in onnx.load(str(path)).opset_import if o.domain == "") >= 13
    assert np.linalg.norm(run(path) - before) < 0.2 * np.linalg.norm(before)
    assert [p.name for p in tmp_path.iterdir()] == [MODEL_FILE]


def test_a_model_of_a_new_opset_keeps_it(tmp_path):
    path = linear(tmp_path / MODEL_FILE, opset=17)
    apply(Static(), path)
    assert next(o.version for o in onnx.load(str(path)).opset_import if o.domain == "") == 17


def test_an_old_model_that_cannot_be_converted_is_unsupported_with_the_reason(tmp_path):
    nodes = [node("Gemm", "x w b", "g"), node("NoSuchOperator", "g", "y")]
    weights = {"w": np.ones((4, 3), np.float32), "b": np.ones(3, np.float32)}
    path = save(tmp_path / MODEL_FILE, nodes, [tensor("x", ["N", 4])], [tensor("y", ["N", 3])], opset=11, **weights)
    with pytest.raises(UnsupportedError, match=r"needs opset 13, and this model of opset 11 cannot be converted: "):
        apply(Static(), path)


@pytest.mark.parametrize("first", [Static(), Dynamic()], ids=["static", "dynamic"])
@pytest.mark.parametrize("second", [Static(), Dynamic()], ids=["static", "dynamic"])
def test_a_model_that_is_quantized_already_is_refused_and_left_alone(tmp_path, first, second):
    path = linear(tmp_path / MODEL_FILE)
    apply(first, path)
    before = path.read_bytes()
    with pytest.raises(UnsupportedError, match="the model is quantized already: it holds ") as caught:
        apply(second, path)
    assert "Linear" in str(caught.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [MODEL_FILE]


def test_a_stacked_model_is_calibrated_with_one_call_at_a_time(tmp_path):
    path = linear(tmp_path / MODEL_FILE, batch=1)
    change = apply(Static(examples=10), path, InputSpec("x", "float32", (1, 4)))
    assert change.detail == "1 of 1 Gemm quantized, ranges by minmax over 10 examples"


def test_several_inputs_are_calibrated_by_their_names(tmp_path):
    nodes = [node("MatMul", "b w", "m"), node("Add", "m a", "y")]
    inputs = [tensor("a", ["N", 3]), tensor("b", ["N", 4])]
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    path = save(tmp_path / MODEL_FILE, nodes, inputs, [tensor("y", ["N", 3])], w=w)
    specs = InputSpec("a", "float32", ("batch", 3)), InputSpec("b", "float32", ("batch", 4))
    assert apply(Static(), path, *specs).detail.startswith("1 of 1 Gemm quantized")  # the fused pair
    arrays = np.zeros((2, 3), np.float32), X
    assert np.linalg.norm(run(path, *arrays) - X @ w) < 0.2 * np.linalg.norm(X @ w)
