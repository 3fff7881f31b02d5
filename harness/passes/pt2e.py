"""INT8 quantization of exported programs by torchao's PT2E, for the kernels that Inductor has on x86.

The quantizer writes pairs of quantize and dequantize around layers. The compiler fuses them with the layer into one
INT8 kernel, provided that it may freeze the weights; else it computes in float32, silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.errors import InvalidOutputError, UnsupportedError
from harness.exported import computing_layers, integer_layers
from harness.passes.base import BuildContext, Change
from harness.passes.torch_quantize import has_vnni


def static_int8(
    name: str, program: Any, context: BuildContext, calibration: str, examples: int, activations: str
) -> tuple[Any, Change]:
    """Return the program with INT8 weights per channel and UINT8 activations, and count its INT8 layers.

    Ranges are the smallest and largest value over the first ``examples`` of the calibration split, in batches of the
    size that is baked into the program.
    """
    if calibration != "minmax":
        raise UnsupportedError(f"{name} on inductor: PT2E has no calibration={calibration}; use minmax")
    if activations != "uint8":
        raise UnsupportedError(f"{name} on inductor: its kernels take unsigned activations; use activations=uint8")
    count = min(examples, len(context.data("calibration")))
    changed, change = _quantized(name, program, _static_quantizer(), list(_calls(context, count)))
    return changed, Change(f"{change.detail}, ranges by minmax over {count} examples", change.layers, change.of)


def dynamic_int8(name: str, program: Any, context: BuildContext) -> tuple[Any, Change]:
    """Return the program with INT8 linear layers whose inputs are quantized at every call.

    Convolutions are left alone: Inductor has no kernel for them that quantizes at run time, and would compute in
    float32 what it has quantized and dequantized.
    """
    return _quantized(name, program, _dynamic_quantizer(), list(_calls(context, 1)))


def _quantized(name: str, program: Any, quantizer: Any, calls: list[tuple[Any, ...]]) -> tuple[Any, Change]:
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    of = len(computing_layers(program.graph))
    with torch.no_grad():
        prepared = prepare_pt2e(program.module(), quantizer)
        for inputs in calls:
            prepared(*inputs)
        changed = torch.export.export(convert_pt2e(prepared), program.example_inputs[0])
    layers = len(integer_layers(changed.graph))
    detail = f"{layers} of {of} convolutions and linear layers quantized"
    if not layers:
        raise InvalidOutputError(f"{name} changed nothing: {detail}")
    return changed, Change(detail, layers, of)


def _static_quantizer() -> Any:
    """Return the x86 quantizer with the extremes as ranges: its default searches a range that clips."""
    import dataclasses

    from torchao.quantization.pt2e.observer import MinMaxObserver
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    default = x86.get_default_x86_inductor_quantization_config(reduce_range=not has_vnni())
    extremes = dataclasses.replace(
        default.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12)
    )
    config = dataclasses.replace(default, input_activation=extremes, output_activation=extremes)
    return x86.X86InductorQuantizer().set_global(config)


def _dynamic_quantizer() -> Any:
    import torch
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_dynamic=True, reduce_range=not has_vnni())
    return x86.X86InductorQuantizer().set_module_type_qconfig(torch.nn.Linear, config)


def _calls(context: BuildContext, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield inputs of the calibration split's first ``count`` examples; the last call is filled up with the first."""
    import dataclasses

    import torch

    split = context.data("calibration")
    first = dataclasses.replace(split, inputs=tuple(array[:count] for array in split.inputs), targets=None)
    for start in range(0, count, context.batch_size):
        yield tuple(torch.from_numpy(array) for array in first.batch(context.batch_size, start))
