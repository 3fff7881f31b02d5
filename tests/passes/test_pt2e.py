from __future__ import annotations

import functools

import numpy as np
import pytest

from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes import PASSES, BuildContext
from harness.zoo import Split

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
Static = PASSES.get("quantize.static-int8")
Dynamic = PASSES.get("quantize.dynamic-int8")


@pytest.fixture(scope="module")
def program(network, digits):
    """The trained network exported for batches of 32, as ``context`` says."""
    with torch.no_grad():
        return torch.export.export(network, (torch.from_numpy(digits.data("test").batch(32)[0]),))


def _error(program, network, digits):
    inputs = torch.from_numpy(digits.data("test").batch(32)[0])
    with torch.inference_mode():
        outputs, reference = program.module()(inputs), network(inputs)
    return float(torch.linalg.norm(outputs - reference) / torch.linalg.norm(reference))


def test_static_quantization_takes_every_layer_and_stays_close(program, network, digits, context):
    changed, change = Static(examples=40).apply_exported(program, context)
    assert (change.layers, change.of) == (4, 4)
    assert change.detail == "4 of 4 convolutions and linear layers quantized, ranges by minmax over 40 examples"
    assert _error(changed, network, digits) < 0.1


def test_dynamic_quantization_leaves_convolutions_in_float32(program, network, digits, context):
    changed, change = Dynamic().apply_exported(program, context)
    linear = sum(isinstance(layer, torch.nn.Linear) for layer in network.modules())
    assert 0 < linear < 4
    assert (change.layers, change.of) == (linear, 4)
    assert _error(changed, network, digits) < 0.1


def test_ranges_come_from_the_first_examples_only(digits):
    """One outlier behind the examples that were asked for must not widen the range."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 4).eval()
    inputs = np.ones((5, 4), np.float32)
    inputs[4] = 1000.0
    context = BuildContext(digits, 3, 0, functools.cache(lambda _: Split((inputs,))))
    with torch.no_grad():
        program = torch.export.export(linear, (torch.ones(3, 4),))
    changed, _ = Static(examples=4).apply_exported(program, context)
    inside = torch.ones(3, 4)
    with torch.inference_mode():
        torch.testing.assert_close(changed.module()(inside), linear(inside), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("item", "reason"),
    [(Static(calibration="entropy"), "use minmax"), (Static(activations="int8"), "use activations=uint8")],
)
def test_what_the_x86_quantizer_does_not_have_is_unsupported(item, reason, program, context):
    with pytest.raises(UnsupportedError, match=reason):
        item.apply_exported(program, context)


@pytest.mark.parametrize("item", [Static(), Dynamic()])
def test_a_program_without_layers_is_a_no_op(item, digits, context):
    with torch.no_grad():
        program = torch.export.export(torch.nn.Softsign(), (torch.zeros(32, 1, 8, 8),))
    with pytest.raises(InvalidOutputError, match="changed nothing: 0 of 0"):
        item.apply_exported(program, context)
