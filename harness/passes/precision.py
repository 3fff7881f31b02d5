"""Passes that change the number format of floating-point weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import InvalidOutputError
from harness.passes.base import BuildContext, Change, Pass, register
from harness.schema import Fidelity


@register
@dataclass(frozen=True)
class CastBFloat16(Pass):
    """Weights and arithmetic in bfloat16; inputs and outputs stay float32."""

    name = "cast.bfloat16"
    summary = "weights and arithmetic in bfloat16 behind a float32 border"
    form = "module"
    fidelity = Fidelity.PRECISION
    precision = "bfloat16"
    distributions = ("torch",)
    extra = "torch"
    backends: ClassVar[Mapping[str, str]] = {
        "torch": "",
        "inductor": "",
        "onnxruntime": "its CPU provider has no bfloat16 kernels for Conv and Gemm",
        "openvino": "it chooses its precision itself; use the backend's option precision=bf16",
    }

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a wrapped copy. Raises InvalidOutputError when there is nothing to cast."""
        import torch

        from harness.passes.torch_modules import BFloat16Module

        wide = [p for p in module.parameters() if p.is_floating_point() and p.dtype != torch.bfloat16]
        if not wide:
            raise InvalidOutputError(f"{self.name} changed nothing: no parameter is wider")
        cast = BFloat16Module(copy.deepcopy(module)).eval()
        return cast, Change(f"{sum(p.numel() for p in wide):,} parameters cast; inputs and outputs stay float32")
