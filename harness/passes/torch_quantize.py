"""Quantization of torch modules by torchao: the weights of Linear layers become tensors of integers.

torchao's configurations know Linear layers alone. Convolutions stay as they are, and count as not quantized.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.environment import cpu_flags
from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes.base import Change

INT4_GROUPS = (32, 64, 128)  # that torch's kernel for INT4 weights on a CPU takes
_INT4_ROWS = 16  # it takes output features in multiples of these
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


def dynamic_int8(name: str, module: Any) -> tuple[Any, Change]:
    """Return a copy whose Linear layers multiply INT8 by INT8: weights per channel, inputs per row at every call."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    config = Int8DynamicActivationInt8WeightConfig(version=2, set_inductor_config=False, reduce_range=not has_vnni())
    return _quantized(name, module, config, lambda _: True)


def weight_only_int8(name: str, module: Any, *, symmetric: bool, compute: str) -> tuple[Any, Change]:
    """Return a copy whose Linear layers keep INT8 weights, one scale per output channel, and widen them at a call."""
    if not symmetric:
        raise UnsupportedError(f"{name}: torchao's INT8 weights are symmetric; use symmetric=true")
    _require_own_format(name, compute)
    from torchao.quantization import Int8WeightOnlyConfig

    return _quantized(name, module, Int8WeightOnlyConfig(version=2, set_inductor_config=False), lambda _: True)


def weight_only_int4(name: str, module: Any, group_size: int, *, compute: str) -> tuple[Any, Change]:
    """Return a copy whose Linear layers keep INT4 weights in groups, with a scale and a zero point each.

    torchao's stable configuration packs for GPUs only (it asks for mslk); its prototype packs for torch's own CPU
    kernel, which takes groups of 32, 64 or 128 inputs and outputs in multiples of 16. Other layers stay as they are.
    """
    _require_own_format(name, compute)
    if group_size not in INT4_GROUPS:
        raise UnsupportedError(
            f"{name}: torch's CPU kernel takes groups of {', '.join(map(str, INT4_GROUPS))} weights, not {group_size}"
        )
    try:
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    except ImportError as error:  # a prototype may move with any version
        raise UnsupportedError(f"{name}: this torchao has no INT4 weights for a CPU: {error}") from error

    def fits(layer: Any) -> bool:
        return bool(layer.in_features % group_size == 0 and layer.out_features % _INT4_ROWS == 0)

    config = PrototypeInt4WeightOnlyConfig(group_size=group_size, set_inductor_config=False)
    left = f"they do not divide into groups of {group_size} inputs and {_INT4_ROWS} outputs"
    changed, change = _quantized(name, module, config, fits, left)
    return changed, replace(change, detail=f"{change.detail}, with zero points: this kernel has no symmetric INT4")


def _require_own_format(name: str, compute: str) -> None:
    if compute != "auto":
        raise UnsupportedError(f"{name}: torch computes in the format of the activations; leave out compute={compute}")


def has_vnni() -> bool:
    """Whether products of INT8 accumulate without saturation; without it ranges must be halved."""
    return bool(_VNNI & set(cpu_flags()))


def _quantized(name: str, module: Any, config: Any, fits: Callable[[Any], bool], left: str = "") -> tuple[Any, Change]:
    """Quantize a copy. ``set_inductor_config`` must be off: it changes the compiler for the whole process."""
    import torch
    from torchao.quantization import quantize_

    changed = copy.deepcopy(module).eval().requires_grad_(False)
    linears = [layer for layer in changed.modules() if _is_linear(layer)]
    of = len(linears) + sum(map(_other_products, changed.modules()))
    plain = [layer for layer in linears if type(layer.weight.data) is torch.Tensor]
    chosen = {id(layer) for layer in plain if fits(layer)}
    if not chosen:
        why = "no Linear layer" if not linears else left if plain else "its Linear layers are quantized already"
        raise InvalidOutputError(f"{name} changed nothing: 0 of {of} layers quantized, {why}")
    quantize_(changed, config, filter_fn=lambda layer, _: id(layer) in chosen)
    for layer in changed.modules():
        # torchao's own text of a layer is a partial, which cannot be pickled.
        vars(layer).pop("extra_repr", None)
    detail = f"{len(chosen)} of {of} layers quantized (Linear only)"
    return changed, Change(detail, len(chosen), of)


def _other_products(layer: Any) -> int:
    """Return how many products with weights a layer makes that torchao leaves alone."""
    import torch

    if isinstance(layer, torch.nn.MultiheadAttention):
        return 2 if layer._qkv_same_embed_dim else 4
    return int(isinstance(layer, (torch.nn.modules.conv._ConvNd, torch.nn.RNNBase)))


def _is_linear(layer: Any) -> bool:
    """Whether a layer multiplies by its own weight: attention reads the weight of its output layer itself."""
    import torch

    attention = torch.nn.modules.linear.NonDynamicallyQuantizableLinear
    return isinstance(layer, torch.nn.Linear) and not isinstance(layer, attention)
