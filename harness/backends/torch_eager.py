"""Eager PyTorch: the module as it is, pickled whole. The reference that everything else is compared with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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
from harness.backends.profiles.torch_profiler import profile_torch
from harness.backends.tensor_formats import precision_of
from harness.errors import UnsupportedError
from harness.schema import Execution, Unmeasured
from harness.zoo import Form

if TYPE_CHECKING:
    import torch

MODULE_FILE = "module.pt"


class TorchBackend(Backend):
    """Runs the module in inference mode. A pickle, not an exported program: that is up to 1.6 times slower.

    Options: ``channels_last`` keeps four-dimensional weights and inputs in NHWC order; the conversion of each
    input is part of the call. ``device_resident`` (CUDA) times the work alone: inputs lie on the device, outputs
    stay there, and a call ends when the device is done. Otherwise the copies to and from it are part of the call.
    """

    name = "torch"
    summary = "eager PyTorch in inference mode"
    format = "torch-module"
    distributions = ("torch",)
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ()}
    extra = "torch"
    unpickles = True
    devices = ("cpu", "cuda")
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "channels_last": (False, True),
        "device_resident": (False, True),
    }

    def environment(self, threads: int, options: Mapping[str, Any], cores: Sequence[int] = ()) -> dict[str, str]:  # noqa: ARG002
        """Return OpenMP's number of threads and their placement, which it reads once at its start."""
        return openmp_environment(threads, cores)

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
        require_device(torch, session.device)
        resident = self.option(session.options, "device_resident")
        if resident and session.device == "cpu":
            raise UnsupportedError(
                "device_resident is for a device with memory of its own, and this trial is on the CPU"
            )
        try:
            module = torch.load(directory / MODULE_FILE, map_location=session.device, weights_only=False)
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        return TorchSession(
            module.eval().requires_grad_(False),
            device=session.device,
            channels_last=self.option(session.options, "channels_last"),
            resident=resident,
        )

    def profile(
        self,
        directory: Path,  # noqa: ARG002
        options: SessionOptions,
        session: Session,
        batches: Sequence[Arrays],
        calls: int,
    ) -> Execution | Unmeasured:
        """Watch the session itself: PyTorch's profiler can be switched on at any time."""
        return profile_torch(session.timed, batches, calls, cuda=options.device == "cuda")


class TorchSession(Session):
    """An eager module: host arrays in, float32 (or integer) host arrays out."""

    def __init__(
        self, module: torch.nn.Module, *, device: str = "cpu", channels_last: bool = False, resident: bool = False
    ) -> None:
        import torch

        self._torch = torch
        self._device = device
        self._channels_last = channels_last
        self._resident = resident
        self._on_device: dict[int, tuple[Arrays, tuple[torch.Tensor, ...]]] = {}
        self._module = module.to(memory_format=torch.channels_last) if channels_last else module  # type: ignore[call-overload]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where torch cannot allocate."""
        try:
            # Taking an output to the host waits for the device.
            return to_arrays(self._run(self._upload(inputs)))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise

    def timed(self, inputs: Arrays) -> object:
        """Run one batch as it is timed; see ``device_resident``."""
        if not self._resident:
            return self(inputs)
        held = self._on_device.get(id(inputs))
        if held is None:
            # The inputs are kept with their copy, so that their id stays theirs.
            held = self._on_device.setdefault(id(inputs), (inputs, self._upload(inputs)))
        try:
            outputs = self._run(held[1])
            self.synchronize()
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        return outputs

    def synchronize(self) -> None:
        """Wait for the device's queue."""
        if self._device != "cpu":
            self._torch.cuda.synchronize()

    def _upload(self, inputs: Arrays) -> tuple[torch.Tensor, ...]:
        torch = self._torch
        tensors = tuple(torch.from_numpy(array) for array in inputs)
        if self._device != "cpu":
            tensors = tuple(t.to(self._device) for t in tensors)
        if self._channels_last:
            tensors = tuple(t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors)
        return tensors

    def _run(self, tensors: tuple[torch.Tensor, ...]) -> Any:
        with self._torch.inference_mode():
            return self._module(*tensors)

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
        return {
            **thread_facts(),
            "provider": self._device,
            "device_resident": self._resident,
            "precision": precision_of(self._module),
            "channels_last": self._channels_last,
            "torch": self._torch.__version__,
            **_torchao_version(),
        }


def _torchao_version() -> dict[str, str]:
    """Return torchao's version where unpickling has imported it: its kernels are in use then."""
    torchao = sys.modules.get("torchao")
    return {} if torchao is None else {"torchao": torchao.__version__}


def thread_facts() -> dict[str, Any]:
    """Return the threads that torch's own kernels use, and whether each is bound to a core."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "threads_bound": os.environ.get("OMP_PROC_BIND", "false") == "true",
    }


def openmp_environment(threads: int, cores: Sequence[int] = ()) -> dict[str, str]:
    """Return what makes GNU OpenMP run ``threads`` threads, each on a core of its own where ``cores`` suffice.

    Unbound, two threads of a pool that meet on one core spin a whole time slice at every barrier: measured here
    with one core busy, 312 ms a call against 50 ms bound. Nothing else in the measured process has a pool that
    would inherit the binding.
    """
    if not 1 < threads <= len(cores):
        return {"OMP_NUM_THREADS": str(threads)}
    places = ",".join(f"{{{core}}}" for core in cores)
    return {"OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true", "OMP_PLACES": places}


def require_device(torch: Any, device: str) -> None:
    """Raise UnsupportedError when torch cannot use a device."""
    if device == "cuda" and not torch.cuda.is_available():
        built = "has no CUDA" if torch.version.cuda is None else f"is built for CUDA {torch.version.cuda}"
        raise UnsupportedError(f"torch {torch.__version__} {built} and finds no CUDA device")


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
    return np.ascontiguousarray(tensor.cpu().numpy())
