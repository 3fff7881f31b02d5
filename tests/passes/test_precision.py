from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.backends.torch_eager import precision_of
from harness.errors import InvalidOutputError, UnsupportedError
from harness.openvino_files import read_settings
from harness.passes import PASSES, onnx_float16
from tests.passes.sessions import load

torch = pytest.importorskip("torch")
CastBFloat16, CastFloat16, Autocast = (PASSES.get(n) for n in ("cast.bfloat16", "cast.float16", "autocast"))
NETWORKS = ["convolutions", "perceptron", "attention"]


@pytest.fixture(scope="module")
def cast(network, context):
    return CastBFloat16().apply_module(network, context)


def test_weights_become_bfloat16_and_the_border_stays_float32(cast, network, digits):
    module, change = cast
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    inputs = torch.from_numpy(digits.data("test").inputs[0])
    with torch.inference_mode():
        outputs, reference = module(inputs), network(inputs)
    assert outputs.dtype == torch.float32
    assert torch.linalg.norm(outputs - reference) / torch.linalg.norm(reference) < 0.05
    count = sum(p.numel() for p in network.parameters())
    assert change.detail == f"{count:,} parameters cast; inputs and outputs stay float32"


def test_the_module_it_was_given_stays_float32(cast, network):
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_cast_module_loads_in_a_fresh_process(cast, tmp_path):
    torch.save(cast[0], tmp_path / "module.pt")
    code = (
        f"import torch; m = torch.load({str(tmp_path / 'module.pt')!r}, weights_only=False);"
        "assert m(torch.zeros(2, 1, 8, 8)).dtype == torch.float32"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_integer_inputs_pass_and_every_floating_output_is_cast(context):
    class Lookup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)

        def forward(self, index):
            rows = self.table(index)
            return {"rows": rows, "pair": (rows.sum(), index)}

    module, _ = CastBFloat16().apply_module(Lookup(), context)
    outputs = module(torch.tensor([1, 2]))
    assert outputs["rows"].dtype == torch.float32
    assert outputs["pair"][0].dtype == torch.float32
    assert outputs["pair"][1].dtype == torch.int64


def test_casting_what_has_no_wider_parameters_is_invalid(cast, context):
    with pytest.raises(InvalidOutputError, match="changed nothing"):
        CastBFloat16().apply_module(cast[0], context)


def test_casting_twice_is_refused_whichever_format_comes_second(cast, context):
    with pytest.raises(InvalidOutputError, match=r"cast\.float16 changed nothing: no parameter is wider"):
        CastFloat16().apply_module(cast[0], context)


def test_float16_is_another_format_than_bfloat16_behind_the_same_border(network, context, digits):
    module, change = CastFloat16().apply_module(network, context)
    assert {p.dtype for p in module.parameters()} == {torch.float16}
    inputs = torch.from_numpy(digits.data("test").batch(8)[0])
    with torch.inference_mode():
        outputs, reference = module(inputs), network(inputs)
    assert outputs.dtype == torch.float32
    assert 0 < torch.linalg.norm(outputs - reference) / torch.linalg.norm(reference) < 0.005
    assert "parameters cast" in change.detail


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.05), ("float16", 0.005)])
def test_autocast_keeps_the_weights_and_computes_products_in_fewer_bits(network, context, digits, dtype, bound):
    module, _ = Autocast(dtype=dtype).apply_module(network, context)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert precision_of(module) == f"{dtype} autocast"
    inputs = torch.from_numpy(digits.data("test").batch(8)[0])
    with torch.inference_mode():
        outputs, reference = module(inputs), network(inputs)
    assert outputs.dtype == torch.float32
    assert 0 < torch.linalg.norm(outputs - reference) / torch.linalg.norm(reference) < bound


def test_autocast_of_what_is_cast_already_is_invalid(cast, context):
    with pytest.raises(InvalidOutputError, match="autocast changed nothing"):
        Autocast().apply_module(cast[0], context)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_weights_become_float16_and_the_model_tells_what_is_computed_in_it(case, copy_of, name):
    tiny = case(name)
    directory = copy_of(tiny, "onnxruntime")
    before = (directory / "model.onnx").stat().st_size
    change = CastFloat16().apply_lowered("onnxruntime", directory, tiny.context)
    assert change.layers == change.of == {"convolutions": 3, "perceptron": 3, "attention": 7}[name]
    assert (directory / "model.onnx").stat().st_size < 0.75 * before
    session = load("onnxruntime", directory)
    outputs = session((tiny.batch,))[0]
    assert outputs.dtype == np.float32
    assert 0 < tiny.error(session) < 0.005
    kept = int(change.detail.split("computes ")[1].split()[0])
    expected = {0: "float16 weights, float32", change.of: "float16"}.get(kept, "float16 and float32")
    assert session.executed()["precision"] == expected
    assert [p.name for p in directory.iterdir()] == ["model.onnx"]


def test_large_float16_weights_lie_beside_the_graph(case, copy_of, monkeypatch):
    monkeypatch.setattr(onnx_float16, "EXTERNAL_DATA_BYTES", 0)
    tiny = case("perceptron")
    directory = copy_of(tiny, "onnxruntime")
    CastFloat16().apply_lowered("onnxruntime", directory, tiny.context)
    assert sorted(p.name for p in directory.iterdir()) == ["model.float16.data", "model.onnx"]
    assert tiny.error(load("onnxruntime", directory)) < 0.005


def test_onnx_float16_and_quantization_exclude_each_other(case, copy_of, tmp_path):
    tiny = case("perceptron")
    static = PASSES.get("quantize.static-int8")()
    for first, second, why in [
        (CastFloat16(), static, "cast to float16 already"),
        (static, CastFloat16(), "quantized"),
    ]:
        directory = copy_of(tiny, "onnxruntime").rename(tmp_path / first.name)
        first.apply_lowered("onnxruntime", directory, tiny.context)
        with pytest.raises(UnsupportedError, match=why):
            second.apply_lowered("onnxruntime", directory, tiny.context)


class TestOpenVino:
    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("openvino")

    @pytest.mark.parametrize(
        ("item", "capability", "bound"), [(CastBFloat16(), "BF16", 0.05), (CastFloat16(), "FP16", 0.005)]
    )
    @pytest.mark.parametrize("name", NETWORKS)
    def test_the_cast_is_told_to_the_runtime_and_read_back_from_it(self, case, copy_of, name, item, capability, bound):
        import openvino

        tiny = case(name)
        directory = copy_of(tiny, "openvino")
        item.apply_lowered("openvino", directory, tiny.context)
        if capability not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            with pytest.raises(UnsupportedError, match="this CPU has no such arithmetic"):
                load("openvino", directory)
            return
        session = load("openvino", directory)
        assert session.executed()["precision"] == item.precision
        assert 0 < tiny.error(session) < bound

    def test_an_option_that_contradicts_the_pass_is_refused(self, case, copy_of):
        tiny = case("perceptron")
        directory = copy_of(tiny, "openvino")
        CastBFloat16().apply_lowered("openvino", directory, tiny.context)
        with pytest.raises(UnsupportedError, match="a pass asks for bfloat16 and the option precision=f32"):
            load("openvino", directory, precision="f32")

    def test_two_casts_are_refused(self, case, copy_of):
        tiny = case("perceptron")
        directory = copy_of(tiny, "openvino")
        CastBFloat16().apply_lowered("openvino", directory, tiny.context)
        with pytest.raises(UnsupportedError, match="another pass has set OpenVINO's precision to bf16"):
            CastFloat16().apply_lowered("openvino", directory, tiny.context)

    def test_what_integers_leave_is_computed_in_the_format_of_the_cast(self, case, copy_of):
        pytest.importorskip("nncf")
        tiny = case("attention")
        directory = copy_of(tiny, "openvino")
        PASSES.get("quantize.static-int8")().apply_lowered("openvino", directory, tiny.context)
        CastBFloat16().apply_lowered("openvino", directory, tiny.context)
        settings = read_settings(directory)
        assert (settings.quantized, settings.precision) == (True, "bf16")
