from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import InvalidOutputError, UnsupportedError
from harness.modules import module_hash, parameter_count, save_module, saved_bytes
from harness.passes import PASSES

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
Dynamic = PASSES.get("quantize.dynamic-int8")
Int8 = PASSES.get("quantize.weight-only-int8")
Int4 = PASSES.get("quantize.weight-only-int4")
Static = PASSES.get("quantize.static-int8")
EVERY = [Dynamic(), Int8(), Int4()]


@pytest.fixture(scope="module")
def net():
    """A convolution and two linear layers that suit every quantizer."""
    torch.manual_seed(0)
    parts = torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 128), torch.nn.ReLU()
    return torch.nn.Sequential(*parts, torch.nn.Linear(128, 16)).eval()


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def _outputs(module, inputs):
    with torch.inference_mode():
        return module(inputs)


@pytest.mark.parametrize(("item", "bound"), [(Dynamic(), 0.03), (Int8(), 0.02), (Int4(), 0.2)], ids=str)
def test_linear_layers_are_quantized_and_counted_beside_convolutions(item, bound, net, inputs, context):
    before = module_hash(net)
    changed, change = item.apply_module(net, context)
    assert (change.layers, change.of) == (2, 3)
    assert change.detail.startswith("2 of 3 layers quantized (Linear only)")
    reference = _outputs(net, inputs)
    assert torch.linalg.norm(_outputs(changed, inputs) - reference) < bound * torch.linalg.norm(reference)
    assert module_hash(net) == before
    assert type(changed[0].weight.data) is torch.Tensor


@pytest.mark.parametrize("item", EVERY, ids=str)
def test_a_quantized_module_is_smaller_hashed_by_its_content_and_keeps_its_parameters(item, net, context):
    first, _ = item.apply_module(net, context)
    again, _ = item.apply_module(net, context)
    assert module_hash(first) == module_hash(again) != module_hash(net)
    assert parameter_count(first) == parameter_count(net)
    assert saved_bytes(first) < 0.5 * saved_bytes(net)


def test_other_integers_give_another_hash(net, context):
    changed, _ = Int8().apply_module(net, context)
    before = module_hash(changed)
    changed[3].weight.qdata[0, 0] += 1
    assert module_hash(changed) != before


@pytest.mark.parametrize("item", EVERY, ids=str)
def test_it_loads_and_runs_in_a_fresh_process(item, net, inputs, context, tmp_path):
    changed, _ = item.apply_module(net, context)
    save_module(changed, tmp_path / "module.pt")
    torch.save((inputs, _outputs(changed, inputs)), tmp_path / "expected.pt")
    code = f"""
from pathlib import Path
import torch
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
folder = Path({str(tmp_path)!r})
inputs, expected = torch.load(folder / "expected.pt")
session = BACKENDS.get("torch").load(folder, SessionOptions(1, {{}}))
torch.testing.assert_close(torch.from_numpy(session((inputs.numpy(),))[0]), expected, rtol=1e-4, atol=1e-5)
assert session.executed()["torchao"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_compiler_of_the_process_keeps_its_settings(net, context):
    from torch._inductor import config

    before = config.coordinate_descent_tuning, config.force_fuse_int_mm_with_mul
    for item in EVERY:
        item.apply_module(net, context)
    assert (config.coordinate_descent_tuning, config.force_fuse_int_mm_with_mul) == before


@pytest.mark.parametrize("item", EVERY, ids=str)
def test_a_module_without_linear_layers_is_a_no_op(item, context):
    with pytest.raises(InvalidOutputError, match="changed nothing: 0 of 1 layers quantized, no Linear layer"):
        item.apply_module(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)), context)


@pytest.mark.parametrize("item", EVERY, ids=str)
def test_what_is_quantized_already_is_a_no_op(item, net, context):
    changed, _ = item.apply_module(net, context)
    with pytest.raises(InvalidOutputError, match="its Linear layers are quantized already"):
        item.apply_module(changed, context)


def test_int4_leaves_what_does_not_divide_into_groups(context):
    odd = torch.nn.Sequential(torch.nn.Linear(64, 30), torch.nn.Linear(30, 16), torch.nn.Linear(64, 16))
    _, change = Int4().apply_module(odd, context)
    assert (change.layers, change.of) == (1, 3)
    with pytest.raises(InvalidOutputError, match="they do not divide into groups of 32 inputs and 16 outputs"):
        Int4().apply_module(odd[:2], context)


def test_attention_that_reads_a_weight_itself_is_left_alone_and_counted(context):
    layer = torch.nn.TransformerEncoderLayer(32, 2, 64, batch_first=True).eval()
    changed, change = Dynamic().apply_module(layer, context)
    assert (change.layers, change.of) == (2, 4)  # its input and output projections stay
    assert _outputs(changed, torch.zeros(1, 3, 32)).shape == (1, 3, 32)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Int4(group_size=16), "groups of 32, 64, 128 weights, not 16"),
        (Int4(compute="int8"), "leave out compute=int8"),
        (Int8(compute="float32"), "leave out compute=float32"),
        (Int8(symmetric=False), "use symmetric=true"),
    ],
    ids=str,
)
def test_what_torch_cannot_do_is_unsupported_with_the_remedy(item, reason, net, context):
    with pytest.raises(UnsupportedError, match=reason):
        item.apply_module(net, context)


def test_static_int8_of_an_eager_module_names_what_to_use_instead():
    assert "use quantize.dynamic-int8" in Static.unsupported_on("torch")
    assert Static.stage_on("inductor") == Dynamic.stage_on("inductor") == "exported"
    assert Dynamic.stage_on("torch") == Int8.stage_on("inductor") == "module"
