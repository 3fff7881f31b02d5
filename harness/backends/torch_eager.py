"""Eager PyTorch: the module as it is, pickled whole. The reference that everything else is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from harness.backends.base import (
    Arrays,
    Backend,
    LowerRequest,
    Session,
    SessionOptions,
    as_arrays,
    raise_if_out_of_memory,
)
from harness.zoo import Form

if TYPE_CHECKING:
    import torch

MODULE_FILE = "module.pt"


class TorchBackend(Backend):
    """Runs the module in inference mode. A pickle, not an exported program: that is up to 1.6 times slower.

    Options: ``channels_last`` keeps four-dimensional weights and inputs in NHWC order; the conversion of each
    input is part of the call.
    """

    name = "torch"
    summary = "eager PyTorch in inference mode"
    format = "torch-module"
    distributions = ("torch",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ()}
    extra = "torch"
    unpickles = True
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"channels_last": (False, True)}

    def environment(self, threads: int, options: Mapping[str, Any]) -> dict[str, str]:  # noqa: ARG002
        """Return OpenMP's number of threads, which it reads once at its start."""
        return {"OMP_NUM_THREADS": str(threads)}

    def import_runtime(self) -> None:
        """Import torch."""
        import torch  # noqa: F401

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Pickle the module in evaluation mode to ``module.pt``."""
        import torch

        torch.save(module.eval(), request.directory / MODULE_FILE)

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Unpickle the module, which runs code: only ever files of the local cache whose hash was checked."""
        import torch

        set_threads(session.threads)
        try:
            module = torch.load(directory / MODULE_FILE, map_location="cpu", weights_only=False)
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        return TorchSession(
            module.eval().requires_grad_(False), channels_last=self.option(session.options, "channels_last")
        )


class TorchSession(Session):
    """An eager module: host arrays in, float32 (or integer) host arrays out."""

    def __init__(self, module: torch.nn.Module, *, channels_last: bool) -> None:
        import torch

        self._torch = torch
        self._channels_last = channels_last
        self._module = module.to(memory_format=torch.channels_last) if channels_last else module  # type: ignore[call-overload]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where torch cannot allocate."""
        torch = self._torch
        tensors = tuple(torch.from_numpy(array) for array in inputs)
        try:
            with torch.inference_mode():
                if self._channels_last:
                    tensors = tuple(
                        t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors
                    )
                return to_arrays(self._module(*tensors))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise

    def reset_device_memory(self) -> None:
        """Set the peaks of the CUDA allocator back."""
        device = cuda_device(self._module)
        if device is not None:
            self._torch.cuda.reset_peak_memory_stats(device)

    def device_memory(self) -> dict[str, Any] | None:
        """Return the peaks of the CUDA allocator; None for a module on the CPU."""
        device = cuda_device(self._module)
        return None if device is None else cuda_peaks(self._torch, device)

    def executed(self) -> dict[str, Any]:
        """Return the threads torch uses, and the parameters' number format."""
        torch = self._torch
        return {
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "provider": "cpu",
            "precision": precision_of(self._module),
            "channels_last": self._channels_last,
            "torch": torch.__version__,
        }


def set_threads(threads: int) -> None:
    """Give torch ``threads`` for intra-op work, and one for inter-op work."""
    import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # may be set only once in a process
        torch.set_num_interop_threads(1)


def cuda_device(module: torch.nn.Module) -> torch.device | None:
    """Return the CUDA device that a module's parameters lie on; None for another device, or without parameters."""
    first = next(iter(module.parameters()), None)
    return first.device if first is not None and first.device.type == "cuda" else None


def cuda_peaks(torch: Any, device: Any) -> dict[str, Any]:
    """Return what torch's CUDA allocator held at most since the last reset, and which GPU it is."""
    torch.cuda.synchronize(device)
    return {
        "uuid": str(torch.cuda.get_device_properties(device).uuid),
        "allocated_peak_bytes": int(torch.cuda.max_memory_allocated(device)),
        "reserved_peak_bytes": int(torch.cuda.max_memory_reserved(device)),
    }


def to_arrays(outputs: Any) -> Arrays:
    """Return a module's outputs (a tensor, or sequences and mappings of them) as contiguous host arrays, flat.

    What is no tensor (a None, a setting) is left out. numpy has no bfloat16: such outputs become float32.
    """
    return as_arrays([_to_array(tensor) for tensor in _tensors(outputs)])


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if hasattr(outputs, "detach"):
        yield outputs
    elif isinstance(outputs, Mapping):
        yield from _tensors(list(outputs.values()))
    elif isinstance(outputs, (tuple, list)):
        for item in outputs:
            yield from _tensors(item)


def _to_array(tensor: torch.Tensor) -> Any:
    import torch

    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    return np.ascontiguousarray(tensor.numpy())


def precision_of(module: torch.nn.Module) -> str:
    """Return the number formats of a module's floating-point parameters, such as ``float32``."""
    names = {str(p.dtype).removeprefix("torch.") for p in module.parameters() if p.is_floating_point()}
    return "+".join(sorted(names)) or "no parameters"
