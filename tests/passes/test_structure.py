from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.backends.base import LowerRequest
from harness.backends.onnx_export import MODEL_FILE, export_onnx
from harness.errors import InvalidOutputError
from harness.passes import PASSES
from harness.zoo import Split

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")
PruneChannels = PASSES.get("prune.channels")


def _channels(module):
    return [m.out_channels for m in module.modules() if isinstance(m, torch.nn.Conv2d)]


@pytest.fixture(scope="module")
def pruned(network, context):
    return PruneChannels(amount=0.5).apply_module(network, context)


def test_half_of_the_channels_are_gone_and_the_output_layer_stays(pruned, network):
    module, _ = pruned
    assert _channels(network) == [32, 64, 128]
    assert _channels(module) == [16, 32, 64]
    assert module[-1].out_features == 10
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert not any(m.training for m in module.modules())


def test_the_line_tells_parameters_and_macs_before_and_after(pruned, network):
    module, change = pruned
    before, after = (sum(p.numel() for p in m.parameters()) for m in (network, module))
    assert f"parameters {before:,} → {after:,}, MACs" in change.detail
    assert after < 0.3 * before


def test_channels_with_the_largest_norm_survive(context, network):
    module, _ = PruneChannels(amount=0.5).apply_module(network, context)
    norms = network[0].weight.detach().flatten(1).norm(dim=1)
    # The group also counts batch norm and the next layer's weights, so the ranking may differ at the border.
    kept = module[0].weight.detach().flatten(1).norm(dim=1)
    assert kept.mean() > norms.mean()


def test_what_remains_is_a_multiple_and_at_least_one(network, context):
    assert _channels(PruneChannels(amount=0.3).apply_module(network, context)[0]) == [24, 48, 88]
    assert _channels(PruneChannels(amount=0.95).apply_module(network, context)[0]) == [8, 8, 8]
    assert _channels(PruneChannels(amount=0.3, round_to=1).apply_module(network, context)[0]) == [22, 45, 90]


def test_the_pruned_module_exports(pruned, digits, tmp_path):
    pytest.importorskip("onnxscript")
    request = LowerRequest(digits.data("test").batch(1), digits.input_names, digits.output_names, tmp_path, {})
    export_onnx(pruned[0], request, dynamic_batch=True)
    assert (tmp_path / MODEL_FILE).is_file()


def test_layers_that_are_added_lose_the_same_channels(context):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(1, 32, 3, padding=1)
            self.inner = torch.nn.Conv2d(32, 32, 3, padding=1)
            self.head = torch.nn.Linear(32, 10)

        def forward(self, x):
            x = self.stem(x)
            return self.head((x + self.inner(x)).mean(dim=(2, 3)))

    module, _ = PruneChannels().apply_module(Residual(), context)
    assert _channels(module) == [16, 16]
    assert module(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("module", [torch.nn.Linear(4, 4), torch.nn.ReLU()])
def test_pruning_what_has_no_hidden_channels_is_invalid(module, context):
    split = Split((np.zeros((2, 4), np.float32),), np.zeros(2))
    with pytest.raises(InvalidOutputError, match="changed nothing"):
        PruneChannels().apply_module(module, dataclasses.replace(context, data=lambda _: split))
