"""Training: the one loop that reference models and the fine-tuning pass share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes.base import BuildContext, Change, Pass, register, require_count
from harness.schema import Fidelity
from harness.zoo import Split

if TYPE_CHECKING:
    import torch


def fit(
    module: torch.nn.Module,
    split: Split,
    loss: Callable[[Any, Any], torch.Tensor],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> float:
    """Train ``module`` in place with AdamW and a one-cycle schedule that peaks at ``learning_rate``.

    Every epoch visits all examples once, in batches whose sizes differ by at most one. All randomness comes
    from ``seed`` and torch's global state is left as it was, so the result repeats on the same machine with
    the same number of threads. Leaves the module in evaluation mode without gradients and returns the mean
    loss of the last epoch.
    """
    import torch

    inputs = tuple(torch.from_numpy(array) for array in split.inputs)
    targets = torch.from_numpy(split.targets)
    steps = math.ceil(len(split) / batch_size)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    shuffle = torch.Generator().manual_seed(seed)
    mean = math.nan
    module.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)  # dropout and the like
        for _ in range(epochs):
            total = 0.0
            for index in torch.randperm(len(split), generator=shuffle).tensor_split(steps):
                optimizer.zero_grad()
                value = loss(module(*(array[index] for array in inputs)), targets[index])
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                total += value.item() * len(index)
            mean = total / len(split)
    optimizer.zero_grad(set_to_none=True)
    module.eval()
    return mean


@register
@dataclass(frozen=True)
class TrainFinetune(Pass):
    """Train on, with the model's own loss and train split.

    A row with it needs a control that trains the same steps without the technique, or the report credits the
    technique with the training.
    """

    name = "train.finetune"
    summary = "trains the module for some more epochs on the train split"
    form = "module"
    fidelity = Fidelity.QUALITY
    distributions = ("torch",)
    extra = "torch"
    backends: ClassVar[Mapping[str, str]] = {"torch": "", "inductor": "", "onnxruntime": "", "openvino": ""}

    epochs: int = 3
    learning_rate: float = 1e-3
    batch_size: int = 64

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        require_count("epochs", self.epochs)
        require_count("batch_size", self.batch_size)
        if not isinstance(self.learning_rate, (int, float)) or not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a positive number, got {self.learning_rate!r}")

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:
        """Return a trained copy; raises UnsupportedError without a loss, InvalidOutputError on divergence."""
        if context.model.loss is None:
            raise UnsupportedError(f"{self.name} needs a loss, and model {context.model.name} defines none")
        split = context.data("train")
        module = copy.deepcopy(module)
        mean = fit(module, split, context.model.loss, seed=context.seed, **self.params())
        if not math.isfinite(mean):
            raise InvalidOutputError(f"{self.name} diverged (loss {mean}): lower its learning_rate")
        return module, Change(f"{self.epochs} epochs of {len(split)} examples, mean loss of the last {mean:.4f}")
