"""A model before it is lowered: run it, keep it, count it, and tell whether it is still the same."""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import sys
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays, as_arrays
from harness.backends.tensor_formats import inner_tensors
from harness.backends.torch_eager import to_arrays
from harness.cache import hash_file
from harness.errors import UnsupportedError
from harness.onnx_inputs import open_session, run_session
from harness.zoo import OnnxFile


def is_torch_module(module: Any) -> bool:
    """Whether it is an ``nn.Module``; loads no torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(module, torch.nn.Module)


def save_module(module: Any, path: Path) -> None:
    """Pickle a module; raises UnsupportedError with the remedy where that is impossible."""
    if is_torch_module(module):
        import torch

        try:
            torch.save(module, path)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UnsupportedError(
                f"the module cannot be pickled ({error}), and only so can it reach the measured process; "
                "define its classes and functions at the top level of their file"
            ) from error
    else:
        path.write_bytes(pickle.dumps(module))


def saved_bytes(module: Any) -> int:
    """Return the size of a module's pickle."""
    if not is_torch_module(module):
        return len(pickle.dumps(module))
    import torch

    sink = _Count()
    torch.save(module, sink)  # type: ignore[arg-type]  # it only writes
    return sink.bytes


class _Count(io.RawIOBase):
    """A file that keeps nothing but the number of bytes written to it."""

    bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.bytes += memoryview(data).nbytes
        return memoryview(data).nbytes


def load_module(path: Path) -> Any:
    """Unpickle a module: only ever from a file of the local cache whose hash was checked."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:
        import torch

        return torch.load(path, weights_only=False)
    return pickle.loads(path.read_bytes())


def run_module(module: Any, inputs: Arrays) -> Arrays:
    """Run a model that is not lowered yet: a torch module, an ``OnnxFile``, or a plain function of arrays."""
    if isinstance(module, OnnxFile):
        return as_arrays(run_session(_open(module.path), inputs))
    if is_torch_module(module):
        import torch

        with torch.inference_mode():
            return to_arrays(module.eval()(*(torch.from_numpy(a) for a in inputs)))
    return as_arrays(module(*inputs))


@functools.cache
def _open(path: Path) -> Any:
    return open_session(path)


def class_hashes(module: Any) -> list[str]:
    """Hash the files of the classes a module is made of, torch's own left out: its ``forward`` may live anywhere."""
    files = set()
    for part in module.modules() if is_torch_module(module) else ():
        kind = type(part)
        if kind.__module__.partition(".")[0] == "torch":
            continue
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if file:
            files.add(Path(file))
    return [hash_file(path) for path in sorted(files)]


def module_hash(module: Any) -> str:
    """Return the SHA-256 (hex) of a module's structure and weights."""
    if not is_torch_module(module):
        return hashlib.sha256(pickle.dumps(module)).hexdigest()
    digest = hashlib.sha256(repr(module).encode())
    for name, held in module.state_dict().items():
        for part, tensor in inner_tensors(held):
            digest.update(f"{name}{part}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(dtype=_bytes_dtype()).numpy().tobytes())
    return digest.hexdigest()


def _bytes_dtype() -> Any:
    import torch

    return torch.uint8


def parameter_count(module: Any) -> int | None:
    """Return the number of parameters; None for what is no torch module."""
    return sum(p.numel() for p in module.parameters()) if is_torch_module(module) else None
