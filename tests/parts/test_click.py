from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from harness.parts.click import ClickModel, perceptron  # noqa: E402 (needs torch)


def test_a_click_is_one_logit_an_example_and_depends_on_every_input() -> None:
    torch.manual_seed(0)
    model = ClickModel((5, 7, 3), (4, 8, 6), (9,)).eval()
    inputs = [torch.tensor([0, 1]), torch.tensor([2, 2]), torch.tensor([1, 1]), torch.ones(2, 4)]
    with torch.inference_mode():
        logits = model(*inputs)
        assert logits.shape == (2, 1)
        for place, other in enumerate([3, 4, 0, 0.5]):
            changed = [each.clone() for each in inputs]
            changed[place][0] = other
            assert not torch.equal(model(*changed)[0], logits[0])
            assert torch.equal(model(*changed)[1], logits[1])


def test_a_perceptron_activates_between_its_layers_and_at_its_end_as_told() -> None:
    open_ended = perceptron((2, 3, 1), None)
    assert [type(layer).__name__ for layer in open_ended] == ["Linear", "ReLU", "Linear"]
    assert isinstance(perceptron((2, 3), torch.nn.Sigmoid())[-1], torch.nn.Sigmoid)
