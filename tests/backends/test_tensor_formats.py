from __future__ import annotations

import copy

import pytest

from harness.backends.tensor_formats import inner_tensors, precision_of
from harness.passes import PASSES

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16)).eval()


def _after(module, *names):
    for name in names:
        module, _ = PASSES.get(name)().apply_module(module, None)
    return module


def test_mixed_precision_names_every_format():
    mixed = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).bfloat16())
    assert precision_of(mixed) == "bfloat16+float32"
    assert precision_of(torch.nn.ReLU()) == "no parameters"


def test_what_computes_in_integers_is_told_from_what_only_stores_them(net):
    assert precision_of(net) == "float32"
    assert precision_of(_after(net, "quantize.dynamic-int8")) == "int8"
    assert precision_of(_after(net, "quantize.weight-only-int8")) == "float32 with int8 weights"
    assert precision_of(_after(net, "quantize.weight-only-int4")) == "float32 with int4 weights"
    assert precision_of(_after(net, "cast.bfloat16", "quantize.weight-only-int8")) == "bfloat16 with int8 weights"


def test_a_partly_quantized_module_names_both_formats(net):
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.quantized = _after(net, "quantize.dynamic-int8")
            self.plain = torch.nn.Conv2d(1, 1, 3)

    assert precision_of(Both()) == "float32+int8"


def test_autocast_is_no_float32(net):
    assert precision_of(_after(net, "autocast")) == "bfloat16 autocast"
    assert precision_of(_after(net, "quantize.weight-only-int8", "autocast")) == ("bfloat16 autocast with int8 weights")


def test_a_quantized_tensor_opens_to_its_integers_and_scales(net):
    weight = _after(net, "quantize.weight-only-int8")[0].weight
    assert {tensor.dtype for _, tensor in inner_tensors(weight)} == {torch.int8, torch.float32}
    plain = copy.deepcopy(net)[0].weight
    assert [part for part, _ in inner_tensors(plain)] == [""]
