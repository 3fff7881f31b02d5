from __future__ import annotations

import shutil

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest, SessionOptions
from harness.backends.onnx_export import MODEL_FILE as LOWERED_FILE
from harness.errors import InvalidOutputError
from harness.passes import PASSES, onnx_rewrite

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
Static = PASSES.get("quantize.static-int8")
Dynamic = PASSES.get("quantize.dynamic-int8")


def _run(directory, inputs):
    session = BACKENDS.get("onnxruntime").load(directory, SessionOptions(1, {}))
    return session((inputs,))[0]


def _error(outputs, reference):
    return np.linalg.norm(outputs - reference) / np.linalg.norm(reference)


def _size(directory):
    return sum(path.stat().st_size for path in directory.iterdir())


def test_passes_and_backend_agree_on_the_file():
    assert onnx_rewrite.MODEL_FILE == LOWERED_FILE


def test_static_quantization_counts_its_nodes_and_stays_close(artifact, exported, digits, context):
    change = Static().apply_lowered("onnxruntime", artifact, context)
    assert change.detail == "4 of 4 Conv/Gemm quantized, ranges by minmax over 256 examples"
    inputs = digits.data("test").inputs[0]
    assert _error(_run(artifact, inputs), _run(exported, inputs)) < 0.15
    assert _size(artifact) < 0.4 * _size(exported)


def test_static_quantization_uses_unsigned_activations_and_weights_per_channel(artifact, context):
    Static().apply_lowered("onnxruntime", artifact, context)
    graph = onnx.load(str(artifact / LOWERED_FILE)).graph
    initializers = {t.name: t for t in graph.initializer}
    zeros = [initializers[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert {t.data_type for t in zeros} == {onnx.TensorProto.UINT8}
    weights = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    scales = [
        list(initializers[n.input[1]].dims)
        for n in graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in {t.name for t in weights}
    ]
    assert sorted(scales) == [[32], [64], [128]]


def test_dynamic_quantization_counts_its_nodes_and_stays_close(artifact, exported, digits, context):
    change = Dynamic().apply_lowered("onnxruntime", artifact, context)
    assert change.detail == "4 of 4 Conv/Gemm quantized"
    inputs = digits.data("test").batch(64)[0]
    assert _error(_run(artifact, inputs), _run(exported, inputs)) < 0.15


@pytest.mark.parametrize("calibration", ["entropy", "percentile"])
def test_other_calibrations_take_a_number_of_examples_that_fills_no_batch(
    calibration, artifact, exported, digits, context
):
    change = Static(calibration=calibration, examples=40).apply_lowered("onnxruntime", artifact, context)
    assert change.detail.endswith(f"ranges by {calibration} over 40 examples")
    inputs = digits.data("test").batch(64)[0]
    assert _error(_run(artifact, inputs), _run(exported, inputs)) < 0.5


def test_more_examples_than_there_are_means_all(artifact, context):
    change = Static(examples=10_000).apply_lowered("onnxruntime", artifact, context)
    assert change.detail.endswith("over 256 examples")


@pytest.mark.parametrize("item", [Static(), Dynamic()])
def test_the_batch_size_stays_free_and_nothing_temporary_is_left(item, artifact, digits, context):
    (artifact / "reference.npz").write_bytes(b"not ours")
    item.apply_lowered("onnxruntime", artifact, context)
    assert sorted(p.name for p in artifact.iterdir()) == ["model.onnx", "reference.npz"]
    for size in (1, 7):
        assert _run(artifact, digits.data("test").batch(size)[0]).shape == (size, 10)


@pytest.mark.parametrize("item", [Static(), Dynamic()])
def test_external_data_is_replaced_with_the_model(item, artifact, exported, digits, context, monkeypatch):
    monkeypatch.setattr(onnx_rewrite, "EXTERNAL_DATA_BYTES", 0)
    path = artifact / LOWERED_FILE
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="model.onnx.data")
    item.apply_lowered("onnxruntime", artifact, context)
    names = sorted(p.name for p in artifact.iterdir())
    assert len(names) == 2
    assert "model.onnx.data" not in names
    onnx.checker.check_model(str(path))
    inputs = digits.data("test").batch(8)[0]
    assert _error(_run(artifact, inputs), _run(exported, inputs)) < 0.2


@pytest.mark.parametrize("item", [Static(), Dynamic()])
def test_quantizing_a_graph_without_weights_is_invalid_and_leaves_it_alone(item, tmp_path, digits, context):
    request = LowerRequest(digits.data("test").batch(2), digits.input_names, digits.output_names, tmp_path, {})
    BACKENDS.get("onnxruntime").lower(torch.nn.Softsign(), request)
    before = (tmp_path / LOWERED_FILE).read_bytes()
    with pytest.raises(InvalidOutputError, match="changed nothing: 0 of 0"):
        item.apply_lowered("onnxruntime", tmp_path, context)
    assert [p.name for p in tmp_path.iterdir()] == [LOWERED_FILE]
    assert (tmp_path / LOWERED_FILE).read_bytes() == before


def test_two_builds_give_the_same_bytes(artifact, exported, tmp_path, context):
    other = shutil.copytree(exported, tmp_path / "other")
    for directory in (artifact, other):
        Static(examples=32).apply_lowered("onnxruntime", directory, context)
    assert (artifact / LOWERED_FILE).read_bytes() == (other / LOWERED_FILE).read_bytes()
