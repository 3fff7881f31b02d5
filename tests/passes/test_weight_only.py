"""Weight-only quantization on the ONNX backends: real numbers of tiny networks, layers counted from the graph."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes import PASSES
from harness.passes.onnx_weights import gemm_to_matmul
from harness.schema import FIDELITY_BOUND, Fidelity
from tests.passes.sessions import load
from tests.tiny_onnx import node, onnx, save, tensor

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
INT8, INT4 = PASSES.get("quantize.weight-only-int8"), PASSES.get("quantize.weight-only-int4")
BOUND = FIDELITY_BOUND[Fidelity.QUANTIZED]


@pytest.mark.parametrize("name", ["perceptron", "attention"])
@pytest.mark.parametrize(("item", "bound"), [(INT8(), 0.02), (INT8(symmetric=False), 0.02), (INT4(), 0.2)])
def test_onnx_runtime_takes_every_linear_layer(case, copy_of, name, item, bound):
    tiny = case(name)
    directory = copy_of(tiny, "onnxruntime")
    change = item.apply_lowered("onnxruntime", directory, tiny.context)
    assert change.layers == change.of == {"perceptron": 3, "attention": 7}[name]
    session = load("onnxruntime", directory)
    bits = "int4" if isinstance(item, INT4) else "int8"
    assert session.executed()["precision"] == f"{bits} weights, int8"
    assert 0 < tiny.error(session) < bound < BOUND


def test_products_in_float32_are_closer_than_those_that_quantize_activations(case, copy_of, tmp_path):
    tiny, errors = case("perceptron"), {}
    for compute in ("float32", "int8"):
        directory = copy_of(tiny, "onnxruntime").rename(tmp_path / compute)
        INT8(compute=compute).apply_lowered("onnxruntime", directory, tiny.context)
        session = load("onnxruntime", directory)
        assert session.executed()["precision"] == f"int8 weights, {compute}"
        errors[compute] = tiny.error(session)
    assert errors["float32"] < errors["int8"]


def test_convolutions_keep_their_weights_on_onnx_runtime_and_are_counted(case, copy_of):
    tiny = case("convolutions")
    directory = copy_of(tiny, "onnxruntime")
    change = INT8().apply_lowered("onnxruntime", directory, tiny.context)
    assert (change.layers, change.of) == (1, 3)
    assert change.detail == "1 of 3 Conv/Gemm have INT8 weights"
    assert load("onnxruntime", directory).executed()["precision"] == "int8 weights, int8 and float32"


@pytest.mark.parametrize("item", [INT8(), INT4()])
def test_onnx_without_products_of_matrices_is_invalid_and_left_alone(tmp_path, item):
    weights = np.ones((4, 1, 3, 3), np.float32)
    path = save(
        tmp_path / "model.onnx", [node("Conv", "x w", "y")], [tensor("x", ["N", 1, 8, 8])],
        [tensor("y", ["N", 4, 6, 6])], w=weights,
    )  # fmt: skip
    before = path.read_bytes()
    with pytest.raises(InvalidOutputError, match=rf"{item.name} changed nothing: 0 of 1 Conv"):
        item.apply_lowered("onnxruntime", tmp_path, None)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("attributes", [{}, {"transB": 1}, {"alpha": 2.0}, {"transA": 1}])
@pytest.mark.parametrize("biased", [False, True])
def test_a_plain_gemm_becomes_a_product_and_a_sum_of_the_same_value(tmp_path, attributes, biased):
    import onnxruntime

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 4)).astype(np.float32)
    weights = {"w": rng.normal(size=(4, 4)).astype(np.float32)}
    weights |= {"b": rng.normal(size=4).astype(np.float32)} if biased else {}
    path = save(
        tmp_path / "model.onnx", [node("Gemm", "x w b" if biased else "x w", "y", **attributes)],
        [tensor("x", [4, 4])], [tensor("y", [4, 4])], **weights,
    )  # fmt: skip

    def run(model):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    model = onnx.load(str(path))
    before = run(model)
    gemm_to_matmul(model.graph)
    onnx.checker.check_model(model)
    np.testing.assert_allclose(run(model), before, rtol=1e-5, atol=1e-5)
    kinds = [n.op_type for n in model.graph.node]
    plain = not attributes.keys() & {"alpha", "transA"}
    assert kinds == ((["MatMul", "Add"] if biased else ["MatMul"]) if plain else ["Gemm"])


def test_a_weight_that_two_layers_share_is_transposed_once(tmp_path):
    w = np.arange(16, dtype=np.float32).reshape(4, 4)
    nodes = [node("Gemm", "x w", "h", transB=1), node("Gemm", "h w", "y", transB=1)]
    path = save(tmp_path / "model.onnx", nodes, [tensor("x", [2, 4])], [tensor("y", [2, 4])], w=w)
    model = onnx.load(str(path))
    gemm_to_matmul(model.graph)
    assert [t.name for t in model.graph.initializer] == ["w_transposed"]
    onnx.checker.check_model(model)


@pytest.mark.parametrize("item", [INT8(), INT4()])
def test_onnx_weights_that_are_quantized_already_are_refused(case, copy_of, item):
    tiny = case("perceptron")
    directory = copy_of(tiny, "onnxruntime")
    item.apply_lowered("onnxruntime", directory, tiny.context)
    with pytest.raises(UnsupportedError, match="quantized already: it holds MatMulNBits"):
        INT8().apply_lowered("onnxruntime", directory, tiny.context)


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("openvino")
        pytest.importorskip("nncf")

    @pytest.mark.parametrize("name", ["convolutions", "perceptron", "attention"])
    @pytest.mark.parametrize("symmetric", [True, False])
    def test_all_weights_become_int8(self, case, copy_of, name, symmetric):
        tiny = case(name)
        directory = copy_of(tiny, "openvino")
        before = (directory / "model.onnx").stat().st_size
        change = INT8(symmetric=symmetric).apply_lowered("openvino", directory, tiny.context)
        assert change.layers == change.of == {"convolutions": 3, "perceptron": 3, "attention": 7}[name]
        assert sorted(p.name for p in directory.iterdir()) == ["model.bin", "model.xml", "runtime.json"]
        assert (directory / "model.bin").stat().st_size < 0.4 * before
        session = load("openvino", directory)
        assert session.executed()["precision"].startswith("int8 weights, int8")
        assert 0 < tiny.error(session) < 0.02

    def test_layers_that_stay_float32_are_told(self, case, copy_of):
        tiny = case("convolutions")
        directory = copy_of(tiny, "openvino")
        INT8().apply_lowered("openvino", directory, tiny.context)
        # Its plugin has no convolution on compressed weights: it restores them when it loads the model.
        assert load("openvino", directory).executed()["precision"] == "int8 weights, int8 and float32"

    def test_products_in_float32_are_closer_than_those_that_quantize_activations(self, case, copy_of, tmp_path):
        tiny, errors = case("perceptron"), {}
        for compute in ("float32", "int8"):
            directory = copy_of(tiny, "openvino").rename(tmp_path / compute)
            INT8(compute=compute).apply_lowered("openvino", directory, tiny.context)
            session = load("openvino", directory)
            assert session.executed()["precision"] == f"int8 weights, {compute}"
            errors[compute] = tiny.error(session)
        assert errors["float32"] < errors["int8"]

    def test_the_last_layer_stays_int8_where_the_others_become_int4_and_is_not_counted(self, case, copy_of):
        tiny = case("perceptron")
        directory = copy_of(tiny, "openvino")
        change = INT4().apply_lowered("openvino", directory, tiny.context)
        assert (change.layers, change.of) == (2, 3)
        assert change.detail == "weights of 2 of 3 layers in INT4, of 1 in INT8"
        session = load("openvino", directory)
        assert session.executed()["precision"].startswith("int4+int8 weights, ")
        assert 0.01 < tiny.error(session) < 0.2

    def test_int4_that_no_layer_can_take_is_invalid_and_leaves_the_model_alone(self, case, copy_of):
        tiny = case("convolutions")
        directory = copy_of(tiny, "openvino")
        before = (directory / "model.onnx").read_bytes()
        with pytest.raises(InvalidOutputError, match="changed nothing: weights of 0 of 3 layers in INT4"):
            INT4().apply_lowered("openvino", directory, tiny.context)
        assert [p.name for p in directory.iterdir()] == ["model.onnx"]
        assert (directory / "model.onnx").read_bytes() == before

    @pytest.mark.parametrize("item", [INT8(), INT4(), PASSES.get("quantize.static-int8")()])
    def test_a_model_that_is_quantized_already_is_refused(self, case, copy_of, item):
        tiny = case("perceptron")
        directory = copy_of(tiny, "openvino")
        item.apply_lowered("openvino", directory, tiny.context)
        with pytest.raises(UnsupportedError, match="quantized already"):
            INT8().apply_lowered("openvino", directory, tiny.context)
