"""Static INT8 on both ONNX backends, on tiny networks of every kind; the digits network is in test_quantize.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest
from harness.errors import InvalidOutputError, UnsupportedError
from harness.openvino_files import read_settings
from harness.passes import PASSES, nncf_quantize
from harness.passes.onnx_rewrite import has_attention
from harness.zoo import Split
from tests.passes.sessions import load
from tests.tiny_onnx import linear, node, onnx, save, tensor

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
Static, Dynamic = PASSES.get("quantize.static-int8"), PASSES.get("quantize.dynamic-int8")
NETWORKS = ["convolutions", "perceptron", "attention"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_onnx_runtime_quantizes_every_product_and_stays_close(case, copy_of, name, activations):
    tiny = case(name)
    directory = copy_of(tiny, "onnxruntime")
    change = Static(activations=activations).apply_lowered("onnxruntime", directory, tiny.context)
    assert change.layers == change.of == {"convolutions": 3, "perceptron": 3, "attention": 9}[name]
    session = load("onnxruntime", directory)
    assert session.executed()["precision"] == "int8"
    assert 0 < tiny.error(session) < 0.03
    graph = onnx.load(str(directory / "model.onnx")).graph
    tensors = {t.name: t for t in graph.initializer}
    zeros = {tensors[n.input[2]].data_type for n in graph.node if n.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.UINT8 if activations == "uint8" else onnx.TensorProto.INT8}


def test_of_a_transformer_only_inputs_of_products_are_rounded(case, copy_of):
    tiny = case("attention")
    directory = copy_of(tiny, "onnxruntime")
    Static().apply_lowered("onnxruntime", directory, tiny.context)
    graph = onnx.load(str(directory / "model.onnx")).graph
    looked_up = made_by(graph, "Gather")  # its integers are those of the table, nothing is rounded again
    integers = {n.output[0] for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in looked_up}
    rounded = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in integers}
    assert rounded
    readers = {n.op_type for n in graph.node if rounded & set(n.input)}
    assert readers <= {"MatMul", "Gemm"}
    assert not any(n.input[0] in made_by(graph, "MatMul", "Gemm") for n in graph.node if n.op_type == "QuantizeLinear")


def made_by(graph, *kinds):
    return {out for n in graph.node if n.op_type in kinds for out in n.output}


def test_dynamic_quantization_leaves_products_of_two_activations_and_says_so(case, copy_of):
    tiny = case("attention")
    directory = copy_of(tiny, "onnxruntime")
    change = Dynamic().apply_lowered("onnxruntime", directory, tiny.context)
    assert (change.layers, change.of) == (7, 9)
    session = load("onnxruntime", directory)
    assert session.executed()["precision"] == "int8 and float32"
    assert 0 < tiny.error(session) < 0.03


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("openvino")
        pytest.importorskip("nncf")

    @pytest.mark.parametrize("name", NETWORKS)
    @pytest.mark.parametrize("activations", ["uint8", "int8"])
    def test_weights_and_activations_become_integers_and_the_outputs_stay_close(self, case, copy_of, name, activations):
        tiny = case(name)
        directory = copy_of(tiny, "openvino")
        change = Static(activations=activations).apply_lowered("openvino", directory, tiny.context)
        assert (change.layers, change.of) == {"convolutions": (3, 3), "perceptron": (3, 3), "attention": (8, 9)}[name]
        assert "over 64 examples" in change.detail
        assert sorted(p.name for p in directory.iterdir()) == ["model.bin", "model.xml", "runtime.json"]
        session = load("openvino", directory)
        assert session.executed()["precision"] == "int8"
        assert 0 < tiny.error(session) < 0.05

    def test_a_layer_behind_a_pooling_of_integers_counts(self, tmp_path, digits, network, context):
        names = digits.input_names, digits.output_names
        request = LowerRequest(digits.data("test").batch(context.batch_size), *names, tmp_path, {})
        BACKENDS.get("openvino").lower(network, request)
        change = Static().apply_lowered("openvino", tmp_path, context)
        assert (change.layers, change.of) == (4, 4)
        assert change.detail == "4 of 4 Convolution/MatMul quantized, ranges by minmax over 256 examples"

    def test_only_what_has_attention_is_quantized_as_a_transformer(self, case, copy_of, tmp_path):
        details = {}
        for name in NETWORKS:
            tiny = case(name)
            directory = copy_of(tiny, "openvino").rename(tmp_path / name)
            details[name] = Static().apply_lowered("openvino", directory, tiny.context).detail
        assert "as a transformer with" in details["attention"]
        assert not any("transformer" in details[name] for name in ("convolutions", "perceptron"))

    def test_the_better_of_two_ways_is_kept_by_the_compiled_models_error(self, case, copy_of, monkeypatch):
        tiny = case("attention")
        directory = copy_of(tiny, "openvino")
        scripted = iter((0.5, 0.25))
        monkeypatch.setattr(nncf_quantize, "_error", lambda *_: next(scripted))
        detail = Static().apply_lowered("openvino", directory, tiny.context).detail
        assert detail.endswith("as a transformer with no SmoothQuant (error 0.25, with SmoothQuant 0.5)")

    def test_attention_is_seen_behind_the_guard_of_a_masked_softmax(self, tmp_path):
        # As torch exports a masked softmax: 0 where it is no number, else itself.
        nodes = [
            node("Softmax", "x", "s"),
            node("IsNaN", "s", "bad"),
            node("Where", "bad zero s", "p"),
            node("MatMul", "p v", "y"),
        ]
        inputs = [tensor("x", [4, 4]), tensor("v", [4, 4])]
        path = save(tmp_path / "model.onnx", nodes, inputs, [tensor("y", [4, 4])], zero=np.float32(0))
        assert has_attention(onnx.load(str(path)).graph)
        openvino = pytest.importorskip("openvino")
        assert nncf_quantize._has_attention(openvino.Core().read_model(path))

    def test_lookups_whose_weights_nncf_loses_are_left_alone(self, case, copy_of, monkeypatch):
        import nncf

        tiny, whole, asked = case("perceptron"), nncf.quantize, []

        def quantize(*arguments, **settings):
            asked.append("ignored_scope" in settings)
            if not asked[-1]:
                raise KeyError("351 node_embedding_1")
            return whole(*arguments, **settings)

        monkeypatch.setattr(nncf, "quantize", quantize)
        change = Static().apply_lowered("openvino", copy_of(tiny, "openvino"), tiny.context)
        assert (asked, change.layers) == ([False, True], 3)

    def test_percentiles_are_a_choice_and_entropy_is_refused_with_the_remedy(self, case, copy_of):
        tiny = case("perceptron")
        directory = copy_of(tiny, "openvino")
        with pytest.raises(UnsupportedError, match="no calibration by entropy; use minmax or percentile"):
            Static(calibration="entropy").apply_lowered("openvino", directory, tiny.context)
        change = Static(calibration="percentile").apply_lowered("openvino", directory, tiny.context)
        assert "ranges by percentile" in change.detail
        assert tiny.error(load("openvino", directory)) < 0.05

    def test_two_builds_give_the_same_weights(self, case, copy_of, tmp_path):
        tiny, written = case("convolutions"), []
        for name in ("one", "other"):
            directory = copy_of(tiny, "openvino").rename(tmp_path / name)
            Static(examples=16).apply_lowered("openvino", directory, tiny.context)
            written.append((directory / "model.bin").read_bytes())  # the graph names its nodes by a running number
        assert written[0] == written[1]

    def test_a_users_file_of_an_old_opset_is_quantized_too(self, tmp_path, case):
        linear(tmp_path / "model.onnx", batch=8, opset=9)
        examples = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
        context = replace(case("perceptron").context, data=lambda _: Split((examples,)))
        change = Static().apply_lowered("openvino", tmp_path, context)
        assert (change.layers, change.of) == (1, 1)
        assert read_settings(tmp_path).quantized

    def test_a_graph_without_weights_is_invalid_and_left_alone(self, tmp_path, case):
        path = save(
            tmp_path / "model.onnx", [node("Softsign", "x", "y")], [tensor("x", [8, 64])], [tensor("y", [8, 64])]
        )
        before = path.read_bytes()
        with pytest.raises(InvalidOutputError, match="changed nothing: 0 of 0 layers"):
            Static().apply_lowered("openvino", tmp_path, case("perceptron").context)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
