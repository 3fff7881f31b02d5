"""Torch modules that passes put into a model, at the top level of a module so that pickles find them.

This file imports torch: import it only inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class BFloat16Module(nn.Module):
    """A module that computes in bfloat16 behind a float32 border: floating outputs are float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.to(torch.bfloat16)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the inner module on inputs of any shape; integer inputs pass as they are."""
        return _cast(self.module(*_cast(inputs, torch.bfloat16)), torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Cast the floating tensors of a tensor, sequence or mapping."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return tuple(_cast(item, dtype) for item in value)
    if isinstance(value, Mapping):
        return {key: _cast(item, dtype) for key, item in value.items()}
    return value
