"""Inductor ahead of time: an exported program compiled to a package that needs no compiler where it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from harness.backends.aoti_package import constant_bytes, integer_kernels, packaged_code
from harness.backends.base import Arrays, LowerRequest, Session, first_line, raise_if_out_of_memory
from harness.backends.compiled import Compiled
from harness.backends.tensor_formats import inner_tensors, precision_of
from harness.backends.torch_eager import thread_facts, to_arrays
from harness.errors import InvalidOutputError, UnsupportedError
from harness.exported import computing_layers, integer_layers
from harness.schema import Step

PACKAGE_FILE = "model.pt2"


def compile_ahead(module: Any, program: Any, request: LowerRequest, freezing: bool | None) -> Compiled:
    """Compile to ``model.pt2`` and say what came out; ``freezing`` None decides by what the program needs.

    The compiler's caches are fresh, so that the build time is that of a first build. Raises UnsupportedError
    where the compiler fails, and InvalidOutputError when the program is quantized and the compiled code is not.
    """
    import torch._inductor
    from torch._inductor import config
    from torch._inductor.exc import InductorError
    from torch._inductor.utils import fresh_cache

    quantized = len(integer_layers(program.graph))
    # INT8 layers are seen only where weights are constants. INT8 weights alone have no kernel under float32, nor (in
    # torch 2.13 with torchao 0.18) under bfloat16; as constants they would be widened once and for all.
    freeze = bool(quantized) if freezing is None else freezing
    began = time.perf_counter()
    # Freezing is read from the process-wide setting too, and is silently left out where gradients are recorded.
    with fresh_cache(), config.patch(freezing=freeze), torch.no_grad():
        try:
            torch._inductor.aoti_compile_and_package(
                program,
                package_path=str(request.directory / PACKAGE_FILE),
                inductor_configs={"cpp.threads": request.threads, "freezing": freeze},
            )
        except InductorError as error:
            raise_if_out_of_memory(error)
            raise UnsupportedError(f"Inductor cannot compile this program: {first_line(error)}") from error
    request.note(Step("compile", time.perf_counter() - began, "ahead of time"))
    source, _ = packaged_code(request.directory / PACKAGE_FILE)
    layers, kernels = len(computing_layers(program.graph)), integer_kernels(source)
    compiled = Compiled(
        mode="ahead-of-time",
        threads=request.threads,
        precision=_precision(module, layers, quantized),
        freezing=freeze,
        layers=layers,
        integer_layers=quantized,
        integer_kernels=kernels,
        constants=constant_bytes(source),
    )
    _require_integers(module, compiled)
    return compiled


def is_quantized(parameter: Any) -> bool:
    """Whether a parameter is a tensor that keeps integers inside."""
    return any(part for part, _ in inner_tensors(parameter))


def _precision(module: Any, layers: int, integer: int) -> str:
    if not integer:
        return precision_of(module)
    return "int8" if integer == layers else f"{precision_of(module)}+int8"


def _require_integers(module: Any, compiled: Compiled) -> None:
    if compiled.integer_layers and not compiled.integer_kernels:
        raise InvalidOutputError(
            f"{compiled.integer_layers} layers of the program are INT8, and the compiled code calls no INT8 kernel "
            f"(freezing is {'on' if compiled.freezing else 'off'}; it must be on)"
        )
    carried = any("int8" in name for name in compiled.constants)  # uint8 is what INT4 weights are packed in
    if any(map(is_quantized, module.parameters())) and not carried:
        raise InvalidOutputError(
            "the weights of the module are integers, and the compiler has widened them to floating point "
            f"(freezing is {'on' if compiled.freezing else 'off'})"
        )


class AheadSession(Session):
    """A loaded package: host arrays of the shapes it was compiled for in, host arrays out."""

    def __init__(self, directory: Path, compiled: Compiled) -> None:
        import torch
        from torch.export.pt2_archive._package import AOTICompiledModel

        self._torch = torch
        self._compiled = compiled
        try:
            # What aoti_load_package ends in. Before, that compares the package's instruction set with this CPU's, which
            # torch finds out by running the C++ compiler where there is one: seconds that are none of the package's.
            # Here CPU flags are in the key of the artifact.
            loader = torch._C._aoti.AOTIModelPackageLoader(str(directory / PACKAGE_FILE), "model", False, 1, -1)
            self._model: Any = AOTICompiledModel(loader)
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise
        self._metadata: dict[str, str] = self._model.loader.get_metadata()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run one batch. Raises OutOfMemoryError where torch cannot allocate."""
        torch = self._torch
        try:
            with torch.inference_mode():
                return to_arrays(self._model(*(torch.from_numpy(array) for array in inputs)))
        except (RuntimeError, MemoryError) as error:
            raise_if_out_of_memory(error)
            raise

    def executed(self) -> dict[str, Any]:
        """Return threads of torch's own kernels, and what the package was compiled for."""
        compiled = self._compiled
        return {
            **thread_facts(),
            "mode": compiled.mode,
            "compiled_threads": compiled.threads,
            "provider": "cpu",
            "precision": compiled.precision,
            "freezing": compiled.freezing,
            "integer_layers": compiled.integer_layers,
            "integer_kernels": compiled.integer_kernels,
            "instruction_set": self._metadata.get("AOTI_CPU_ISA", ""),
            "torch": self._torch.__version__,
        }
