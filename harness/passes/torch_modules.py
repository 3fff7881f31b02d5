"""Torch modules that passes put into a model, at the top level of a module so that pickles find them.

This file imports torch: import it only inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class CastModule(nn.Module):
    """A module that computes in another floating format behind a float32 border: floating outputs are float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)
        self.dtype = dtype

    def extra_repr(self) -> str:
        """Return the format, which tells two such modules apart."""
        return str(self.dtype)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the inner module on inputs of any shape; integer inputs pass as they are."""
        return _cast(self.module(*_cast(inputs, self.dtype)), torch.float32)


class AutocastModule(nn.Module):
    """A module under torch.amp.autocast on its own device; floating outputs are float32.

    ``computes`` tells a backend the format of the products, which the parameters' format does not.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self.dtype = dtype
        self.autocast = str(dtype).removeprefix("torch.")  # a backend reads it to say what it computes in

    def extra_repr(self) -> str:
        """Return the format, which tells two such modules apart."""
        return str(self.dtype)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the inner module on inputs of any shape."""
        with torch.amp.autocast(inputs[0].device.type, dtype=self.dtype):
            outputs = self.module(*inputs)
        return _cast(outputs, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Cast the floating tensors of a tensor, sequence or mapping."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return tuple(_cast(item, dtype) for item in value)
    if isinstance(value, Mapping):
        return {key: _cast(item, dtype) for key, item in value.items()}
    return value
