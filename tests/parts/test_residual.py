from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from harness.parts.residual import Residual, convolution, initialize, resnet18  # noqa: E402 (needs torch)


def test_a_residual_adds_the_shortcut_and_then_activates() -> None:
    double = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(double.weight, 2.0)
    block = Residual(double, torch.nn.Identity(), torch.nn.ReLU())
    assert block(torch.tensor([[1.0], [-1.0]])).tolist() == [[3.0], [0.0]]


@pytest.mark.parametrize(("channels", "classes", "parameters"), [(3, 1000, 11_689_512), (1, 10, 11_175_370)])
def test_resnet18_has_the_parameters_of_the_published_one(channels: int, classes: int, parameters: int) -> None:
    network = resnet18(channels, classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("side", [32, 64])
def test_resnet18_takes_any_size_and_its_weights_come_from_the_seed(side: int) -> None:
    torch.manual_seed(3)
    network = resnet18(1, 10).eval()
    torch.manual_seed(3)
    again = resnet18(1, 10)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    with torch.inference_mode():
        assert network(torch.rand(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize("groups", [1, 256])
def test_a_convolution_starts_so_that_it_keeps_the_size_of_what_it_feeds(groups: int) -> None:
    torch.manual_seed(0)
    [layer, _] = convolution(256, 256, 3, groups=groups)
    initialize(layer)
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (9 * 256 / groups)) ** 0.5, rel=0.1)
