from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes import PASSES
from harness.passes.train import fit
from harness.zoo import Split

torch = pytest.importorskip("torch")
TrainFinetune = PASSES.get("train.finetune")


def _line(seed=0):
    """A linear module and noiseless data that it can fit."""
    inputs = np.random.RandomState(0).rand(37, 3).astype(np.float32)
    split = Split((inputs,), (inputs @ np.float32([1, -2, 3]))[:, None])
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 1), split


def _fit(module, split, **changes):
    settings = {"epochs": 200, "learning_rate": 0.1, "batch_size": 8, "seed": 0}
    return fit(module, split, torch.nn.functional.mse_loss, **settings | changes)


def test_fit_learns_a_line_and_returns_the_mean_loss_of_the_last_epoch():
    module, split = _line()
    mean = _fit(module, split)
    assert mean < 5e-3
    inputs, targets = torch.from_numpy(split.inputs[0]), torch.from_numpy(split.targets)
    with torch.no_grad():
        final = torch.nn.functional.mse_loss(module(inputs), targets)
    assert mean == pytest.approx(float(final), abs=1e-3)


def test_fit_visits_every_example_once_an_epoch_in_batches_of_nearly_one_size():
    module, split = _line()
    seen = []
    module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    _fit(module, split, epochs=1)
    assert sorted(len(batch) for batch in seen) == [7, 7, 7, 8, 8]
    assert sorted(torch.cat(seen)[:, 0].tolist()) == sorted(split.inputs[0][:, 0].tolist())


def test_fit_repeats_for_a_seed_and_differs_for_another_dropout_included():
    def weights(seed):
        line, split = _line()
        module = torch.nn.Sequential(torch.nn.Dropout(0.5), line)
        _fit(module, split, epochs=2, seed=seed)
        return line.weight.detach().clone()

    first = weights(0)
    torch.rand(5)  # the global generator has moved on
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_fit_trains_even_where_gradients_are_switched_off_and_leaves_evaluation_mode():
    module, split = _line()
    before = module.weight.detach().clone()
    with torch.no_grad():
        _fit(module, split, epochs=1)
    assert not torch.equal(module.weight, before)
    assert not module.training
    assert module.weight.grad is None


def test_finetuning_twice_with_one_seed_gives_the_same_module(network, context):
    first, change = TrainFinetune(epochs=1).apply_module(network, context)
    second, _ = TrainFinetune(epochs=1).apply_module(network, context)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert change.detail.startswith("1 epochs of 1257 examples")


def test_finetuning_leaves_the_module_it_was_given_alone(network, context):
    before = [p.detach().clone() for p in network.parameters()]
    trained, _ = TrainFinetune(epochs=1).apply_module(network, context)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, trained.parameters(), strict=True))


def test_a_model_without_a_loss_cannot_be_finetuned(network, context):
    lossless = dataclasses.replace(context, model=dataclasses.replace(context.model, loss=None))
    with pytest.raises(UnsupportedError, match="needs a loss"):
        TrainFinetune().apply_module(network, lossless)


def test_a_training_that_diverges_is_invalid(network, context):
    def explode(outputs, targets):
        return outputs.sum() * float("inf")

    exploding = dataclasses.replace(context, model=dataclasses.replace(context.model, loss=explode))
    with pytest.raises(InvalidOutputError, match="learning_rate"):
        TrainFinetune(epochs=1).apply_module(network, exploding)
