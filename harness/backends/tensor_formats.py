"""Number formats of torch tensors and modules, those included that keep integers behind a floating-point face."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def inner_tensors(tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the plain tensors that hold a tensor's content, with what tells them apart.

    A quantized tensor is a subclass that stands for float32 and keeps integers, scales and settings inside.
    """
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield "", tensor
        return
    names, settings = flatten()
    for name in names:
        for part, inner in inner_tensors(getattr(tensor, name)):
            yield f".{name}{part}{settings}", inner


def precision_of(module: torch.nn.Module) -> str:
    """Return the number formats that a module computes in, such as ``float32``.

    Read from its floating-point parameters; where there are quantized ones, from its matrices alone, since the biases
    of INT8 layers always are float32. ``bfloat16 autocast`` where a pass has put it under autocast.
    """
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    if any(_quantized_format(p) for p in parameters):
        parameters = [p for p in parameters if p.ndim > 1]
    names = {_quantized_format(p) or str(p.dtype).removeprefix("torch.") for p in parameters}
    weights = "+".join(sorted(names)) or "no parameters"
    cast = next((part.autocast for part in module.modules() if isinstance(getattr(part, "autocast", None), str)), "")
    if not cast:
        return weights
    return f"{cast} autocast" if weights == "float32" else f"{weights} under {cast} autocast"


def _quantized_format(parameter: torch.Tensor) -> str:
    """Return the format of torchao's tensors, which call themselves float32; empty for a plain tensor."""
    kind = type(parameter).__name__
    if not kind.startswith("Int"):
        return ""
    if getattr(parameter, "act_quant_kwargs", None) is not None:
        return "int8"  # activations are quantized too
    return "int4 weights" if kind.startswith("Int4") else "int8 weights"
