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
    of INT8 layers always are float32. What only stores is named after it: ``float32 with int8 weights``.
    ``bfloat16 autocast`` where a pass has put the module under autocast.
    """
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    if any(_integers_of(p) for p in parameters):
        parameters = [p for p in parameters if p.ndim > 1]
    computing = {"int8" if _computes_in_int8(p) else str(p.dtype).removeprefix("torch.") for p in parameters}
    stored = {_integers_of(p) for p in parameters if _integers_of(p) and not _computes_in_int8(p)}
    cast = next((part.autocast for part in module.modules() if isinstance(getattr(part, "autocast", None), str)), "")
    if cast:
        computing = (computing - {"float32"}) | {f"{cast} autocast"}
    formats = "+".join(sorted(computing)) or "no parameters"
    return f"{formats} with {'+'.join(sorted(stored))} weights" if stored else formats


def _integers_of(parameter: torch.Tensor) -> str:
    """Return the integers that one of torchao's tensors keeps, which call themselves float32; empty for a plain one."""
    kind = type(parameter).__name__
    return kind[:4].lower() if kind.startswith(("Int4", "Int8")) else ""


def _computes_in_int8(parameter: torch.Tensor) -> bool:
    """Whether a layer with this weight quantizes its activations too."""
    return bool(_integers_of(parameter)) and getattr(parameter, "act_quant_kwargs", None) is not None
