"""Passes that change the shape of a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes.base import BuildContext, Change, Pass, register, require_count, require_share
from harness.schema import Fidelity

if TYPE_CHECKING:
    import torch


@register
@dataclass(frozen=True)
class PruneChannels(Pass):
    """Remove the output channels with the smallest L2 norm from every layer but the last, the output.

    ``amount`` is the share removed from each layer (not ranked across layers); what remains is rounded to a
    multiple of ``round_to``, at least one multiple. Layers whose channels depend on each other lose the same.
    """

    name = "prune.channels"
    summary = "removes the weakest channels of every layer (torch-pruning)"
    form = "module"
    fidelity = Fidelity.QUALITY
    distributions = ("torch-pruning",)
    extra = "pruning"
    backends: ClassVar[Mapping[str, str]] = {"torch": "", "inductor": "", "onnxruntime": "", "openvino": ""}

    amount: float = 0.5
    round_to: int = 8

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        require_share("amount", self.amount)
        require_count("round_to", self.round_to)

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:
        """Return a pruned copy; the line tells parameters and multiply-accumulates (MACs) per example.

        Raises UnsupportedError where torch-pruning cannot follow the module or would change the output's
        shape, InvalidOutputError where nothing could be removed.
        """
        import torch
        import torch_pruning

        example = tuple(torch.from_numpy(a) for a in context.data("calibration").batch(1))
        module = copy.deepcopy(module).eval()
        macs, parameters = torch_pruning.utils.count_ops_and_params(module, example)
        layers, last = _prunable_layers(module, example)
        with torch.no_grad():
            shape = _shapes(module(*example))
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=self.amount,
            pruning_ratio_dict={layer: self._ratio(channels) for layer, channels in layers.items()},
            ignored_layers=[last],
        )
        pruner.step()
        macs_after, parameters_after = torch_pruning.utils.count_ops_and_params(module, example)
        if parameters_after == parameters:
            raise InvalidOutputError(f"{self.name} changed nothing: no layer could lose channels")
        with torch.no_grad():
            if _shapes(module(*example)) != shape:
                raise UnsupportedError(f"{self.name} would change the output's shape of {context.model.name}")
        detail = f"parameters {parameters:,} → {parameters_after:,}, MACs {macs:,.0f} → {macs_after:,.0f}"
        return module, Change(detail)

    def _ratio(self, channels: int) -> float:
        """Return the share to remove so that a multiple of ``round_to`` remains."""
        multiples = max(1, round(channels * (1 - self.amount) / self.round_to))
        kept = min(channels, multiples * self.round_to)
        # torch-pruning truncates channels · (1 − ratio); the millionth keeps rounding on the right side.
        return max(0.0, 1 - (kept + 1e-6) / channels)


def _prunable_layers(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> tuple[dict[torch.nn.Module, int], torch.nn.Module]:
    """Return convolutions and linear layers with their output channels, and the one that runs last."""
    from torch import nn

    layers: dict[nn.Module, int] = {}

    def note(layer: nn.Module, _inputs: Any, _output: Any) -> None:
        layers.pop(layer, None)  # keep the order of the last call
        layers[layer] = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels  # type: ignore[assignment]

    hooks = [
        layer.register_forward_hook(note)
        for layer in module.modules()
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    try:
        module(*example)
    finally:
        for hook in hooks:
            hook.remove()
    if not layers:
        raise InvalidOutputError("prune.channels changed nothing: there is no convolution or linear layer")
    return layers, next(reversed(layers))


def _shapes(outputs: Any) -> list[tuple[int, ...]]:
    items = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    return [tuple(item.shape) for item in items]
