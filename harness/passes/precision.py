"""Passes that change the number format of floating-point weights and arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from harness.errors import InvalidOutputError, UnsupportedError
from harness.openvino_files import read_settings, write_settings
from harness.passes import onnx_float16
from harness.passes.base import BuildContext, Change, Pass, Stage, register
from harness.schema import Fidelity

HalfFormat = Literal["bfloat16", "float16"]


class _Cast(Pass):
    """What the two casts share. ONNX files can take them, so their place in a chain is after the module's passes."""

    form = "lowered"
    stages: ClassVar[Mapping[str, Stage]] = {"torch": "module", "inductor": "module"}
    fidelity = Fidelity.PRECISION
    requires: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "torch": ("torch",),
        "inductor": ("torch",),
        "onnxruntime": ("onnxruntime", "onnx"),
        "openvino": ("openvino",),
    }
    extra = "torch"

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a wrapped copy. Raises InvalidOutputError when there is nothing to cast."""
        import torch

        from harness.passes.torch_modules import CastModule

        dtype = getattr(torch, self.precision)
        _require_wider(self.name, module)
        wide = sum(p.numel() for p in module.parameters() if p.is_floating_point() and p.dtype != dtype)
        cast = CastModule(copy.deepcopy(module), dtype).eval()
        return cast, Change(f"{wide:,} parameters cast; inputs and outputs stay float32")


@register
@dataclass(frozen=True)
class CastBFloat16(_Cast):
    """Weights and arithmetic in bfloat16; inputs and outputs stay float32.

    OpenVINO is told to compute in bfloat16; it casts the weights when it loads the model.
    """

    name = "cast.bfloat16"
    summary = "weights and arithmetic in bfloat16 behind a float32 border"
    precision = "bfloat16"
    backends: ClassVar[Mapping[str, str]] = {
        "torch": "",
        "inductor": "",
        "onnxruntime": "its CPU provider has no bfloat16 kernels for Conv and Gemm",
        "openvino": "",
    }

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Tell OpenVINO to compute in bfloat16."""
        return _tell_openvino(self.name, directory, "bf16")


@register
@dataclass(frozen=True)
class CastFloat16(_Cast):
    """Weights and arithmetic in float16; inputs and outputs stay float32.

    OpenVINO is told to compute in float16, and refused where the CPU cannot. ONNX Runtime turns back into float32
    what it has no float16 kernels for.
    """

    name = "cast.float16"
    summary = "weights and arithmetic in float16 behind a float32 border"
    precision = "float16"
    backends: ClassVar[Mapping[str, str]] = {"torch": "", "inductor": "", "onnxruntime": "", "openvino": ""}

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Convert the ONNX graph, or tell OpenVINO to compute in float16."""
        if backend == "openvino":
            return _tell_openvino(self.name, directory, "f16")
        return onnx_float16.float16(directory)


@register
@dataclass(frozen=True)
class Autocast(Pass):
    """torch.amp.autocast: float32 weights, cast at every call for the operators that gain from fewer bits."""

    name = "autocast"
    summary = "torch.amp.autocast: float32 weights, products in fewer bits"
    form = "module"
    fidelity = Fidelity.PRECISION
    distributions = ("torch",)
    extra = "torch"
    backends: ClassVar[Mapping[str, str]] = {
        "torch": "",
        "inductor": "",
        "onnxruntime": "autocast is PyTorch's; use cast.float16",
        "openvino": "autocast is PyTorch's; use cast.bfloat16 or cast.float16",
    }

    dtype: HalfFormat = "bfloat16"

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        if self.dtype not in get_args(HalfFormat):
            raise ValueError(f"dtype must be one of {', '.join(get_args(HalfFormat))}, got {self.dtype!r}")

    def requested_precision(self) -> str:
        """Return the format of the products."""
        return self.dtype

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a wrapped copy. Raises InvalidOutputError when there is nothing to cast."""
        import torch

        from harness.passes.torch_modules import AutocastModule

        _require_wider(self.name, module)
        wrapped = AutocastModule(copy.deepcopy(module), getattr(torch, self.dtype)).eval()
        return wrapped, Change(f"products in {self.dtype}; weights, inputs and outputs stay float32")


def _require_wider(name: str, module: Any) -> None:
    """Raise InvalidOutputError unless a module has float32 or wider parameters."""
    if not any(p.is_floating_point() and p.element_size() > 2 for p in module.parameters()):
        raise InvalidOutputError(f"{name} changed nothing: no parameter is wider")


def _tell_openvino(name: str, directory: Path, precision: str) -> Change:
    """Leave OpenVINO's name of the arithmetic's format for the runtime."""
    settings = read_settings(directory)
    if settings.precision:
        raise UnsupportedError(f"{name}: another pass has set OpenVINO's precision to {settings.precision}")
    write_settings(directory, replace(settings, precision=precision))
    return Change(f"OpenVINO's inference precision is {precision}; inputs and outputs stay float32")
