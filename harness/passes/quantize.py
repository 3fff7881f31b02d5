"""Quantization: what a suite may ask for. Each runtime's own implementation stands in a file beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from harness.passes import nncf_quantize, onnx_quantize, onnx_weights, pt2e, torch_quantize
from harness.passes.base import BuildContext, Change, Pass, Stage, register, require_count
from harness.schema import Fidelity

Calibration = Literal["minmax", "entropy", "percentile"]
Activations = Literal["uint8", "int8"]
Compute = Literal["auto", "int8", "float32"]


class _Quantization(Pass):
    """What all of them share; ONNX files can take them, so their place in a chain is after the module's passes."""

    form = "lowered"
    fidelity = Fidelity.QUANTIZED
    requires: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "torch": ("torch", "torchao"),
        "inductor": ("torch", "torchao"),
        "onnxruntime": ("onnxruntime", "onnx"),
        "openvino": ("openvino", "nncf"),
    }
    extra = "quantization"


@register
@dataclass(frozen=True)
class QuantizeStaticInt8(_Quantization):
    """INT8 weights (per channel) and activations, whose ranges come from the calibration split.

    ``examples`` are taken from the split's beginning; where it holds fewer, all of them. ``activations`` is the
    integer format of activations: unsigned with signed weights (U8S8) is what x86 has fast kernels for.
    """

    name = "quantize.static-int8"
    summary = "INT8 weights and activations with ranges from calibration data"
    precision = "int8"
    stages: ClassVar[Mapping[str, Stage]] = {"inductor": "exported"}
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "openvino": "",
        "torch": "for convolutions eager PyTorch has only the deprecated torch.ao FX mode, and torchao knows only "
        "Linear layers: use quantize.dynamic-int8 for those, or the backend inductor",
        "inductor": "",
    }

    calibration: Calibration = "minmax"
    examples: int = 256
    activations: Activations = "uint8"

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        _require_one_of("calibration", self.calibration, get_args(Calibration))
        _require_one_of("activations", self.activations, get_args(Activations))
        require_count("examples", self.examples)

    def apply_exported(self, program: Any, context: BuildContext) -> tuple[Any, Change]:
        """Return the program quantized by PT2E for Inductor, and count the layers that became INT8."""
        return pt2e.static_int8(self.name, program, context, self.calibration, self.examples, self.activations)

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:
        """Rewrite the artifact with the backend's own quantizer and count the layers that became INT8."""
        if backend == "openvino":
            return nncf_quantize.static_int8(directory, context, self.calibration, self.examples, self.activations)
        return onnx_quantize.static_int8(directory, context, self.calibration, self.examples, self.activations)


@register
@dataclass(frozen=True)
class QuantizeDynamicInt8(_Quantization):
    """INT8 weights (per channel); activations are quantized at every call with the ranges of that call."""

    name = "quantize.dynamic-int8"
    summary = "INT8 weights; activations quantized at run time, no calibration"
    precision = "int8"
    stages: ClassVar[Mapping[str, Stage]] = {"torch": "module", "inductor": "exported"}
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "openvino": "its CPU plugin quantizes activations at run time itself for models whose weights are compressed: "
        "use quantize.weight-only-int8",
        "torch": "",
        "inductor": "",
    }

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a copy whose Linear layers torchao quantized, and count them."""
        return torch_quantize.dynamic_int8(self.name, module)

    def apply_exported(self, program: Any, context: BuildContext) -> tuple[Any, Change]:
        """Return the program quantized by PT2E for Inductor, and count the layers that became INT8."""
        return pt2e.dynamic_int8(self.name, program, context)

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite the artifact with ONNX Runtime's quantizer and count the layers that became INT8."""
        return onnx_quantize.dynamic_int8(directory)


@register
@dataclass(frozen=True)
class QuantizeWeightOnlyInt8(_Quantization):
    """INT8 weights of matrix products, one scale per output channel or group; activations stay as they are.

    ``compute`` is the format of the products: ``auto`` is what the runtime does by itself.
    """

    name = "quantize.weight-only-int8"
    summary = "INT8 weights of matrix products; activations stay floating-point"
    precision = "int8 weights"
    stages: ClassVar[Mapping[str, Stage]] = {"torch": "module", "inductor": "module"}
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "openvino": "",
        "torch": "",
        "inductor": "",
    }

    symmetric: bool = True
    compute: Compute = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        _require_one_of("compute", self.compute, get_args(Compute))

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a copy whose Linear layers torchao gave INT8 weights, and count them."""
        return torch_quantize.weight_only_int8(self.name, module, symmetric=self.symmetric, compute=self.compute)

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite the artifact with the backend's own quantizer and count the layers whose weights became INT8."""
        if backend == "openvino":
            return nncf_quantize.weight_only(self.name, directory, self.compute, bits=8, symmetric=self.symmetric)
        return onnx_weights.weight_only(self.name, directory, self.compute, bits=8, symmetric=self.symmetric)


@register
@dataclass(frozen=True)
class QuantizeWeightOnlyInt4(_Quantization):
    """INT4 weights of matrix products, one scale per ``group_size`` weights of an output channel.

    ``compute`` is the format of the products: ``auto`` is what the runtime does by itself.
    """

    name = "quantize.weight-only-int4"
    summary = "INT4 weights of matrix products in groups; activations stay floating-point"
    precision = "int4 weights"
    stages: ClassVar[Mapping[str, Stage]] = {"torch": "module", "inductor": "module"}
    backends: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "",
        "openvino": "",
        "torch": "",
        "inductor": "",
    }

    group_size: int = 32
    symmetric: bool = True
    compute: Compute = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter out of range."""
        if self.group_size not in (16, 32, 64, 128, 256):
            raise ValueError(f"group_size must be 16, 32, 64, 128 or 256, got {self.group_size!r}")
        _require_one_of("compute", self.compute, get_args(Compute))

    def apply_module(self, module: Any, context: BuildContext) -> tuple[Any, Change]:  # noqa: ARG002
        """Return a copy whose Linear layers torchao gave INT4 weights, and count them."""
        return torch_quantize.weight_only_int4(self.name, module, self.group_size, compute=self.compute)

    def apply_lowered(self, backend: str, directory: Path, context: BuildContext) -> Change:  # noqa: ARG002
        """Rewrite the artifact with the backend's own quantizer and count the layers whose weights became INT4."""
        if backend == "openvino":
            return nncf_quantize.weight_only(
                self.name, directory, self.compute, bits=4, symmetric=self.symmetric, group_size=self.group_size
            )
        return onnx_weights.weight_only(
            self.name, directory, self.compute, bits=4, symmetric=self.symmetric, group_size=self.group_size
        )


def _require_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
