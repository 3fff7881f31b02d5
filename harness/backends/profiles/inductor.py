"""What code made by Inductor executes.

Compiled ahead of time, its products and convolutions call kernels past PyTorch's dispatcher, so that the profiler
sees some of them or none (no INT8 one at all). The package carries the C++ that it was compiled from, and that shows
every call and every generated loop, but no time.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.backends.aoti_package import packaged_code
from harness.backends.base import Arrays, Session
from harness.backends.profiles import Kind, Run, Watched, by_count, timed_execution, wider
from harness.backends.profiles.torch_profiler import COMPUTE, MOST_CALLS, SOURCE, profile_torch, watch_torch
from harness.schema import Execution, Unmeasured

ENOUGH_SEEN = 0.9  # share of a call's time that the profiler must explain for its times to be used

_FORMATS = {
    "double": "float64", "float64": "float64", "float": "float32", "float32": "float32", "half": "float16",
    "float16": "float16", "bfloat16": "bfloat16", "uint8_t": "int8", "uint8": "int8", "int8_t": "int8",
    "int8": "int8", "float8_e4m3fn": "float8", "float8_e5m2": "float8", "int32_t": "int32", "int64_t": "int64",
}  # fmt: skip
_CONSTANT = re.compile(
    r'constants_info_\[\d+\]\.name = "(\w+)";\s*constants_info_\[\d+\]\.dtype = cached_torch_dtype_(\w+);'
)
_INPUT = re.compile(r"\b(\w+)_expected_dtype = aoti_torch_dtype_(\w+)\(\)")
_BODY = re.compile(r"^void AOTInductorModel::run_impl\(.*?^\}", re.MULTILINE | re.DOTALL)
_ALLOCATION = re.compile(r"aoti_torch_empty_strided\w*\(.*?cached_torch_dtype_(\w+),.*&(\w+)_handle\)")
_MOVE = re.compile(r"\b(\w+) = std::move\((\w+)\)")
_DTYPE_VARIABLE = re.compile(r"int32_t (\w+) = cached_torch_dtype_(\w+);")
_EXTERN = re.compile(r"\baoti_torch_(?:cpu|mkldnn)_(\w+)\((.*)\)")
_PROXY = re.compile(r"\baoti_torch_proxy_executor_call_function\((.*)\)")
_ORIGIN = re.compile(r"Original ATen: \[(.*?)\]")
_LOOP = re.compile(r"^\s*(cpp_\w+)\((.*)\)")
_POINTER = re.compile(r"\((?:const )?(?:at::)?(\w+)\*\)\((\w+)\.data_ptr\(\)\)")
_RESULT = re.compile(r"&(\w+)_handle")
# Parts of a generated loop's name that only change a format or a layout; a loop named for a convolution alone puts
# its input or weights in the order that the kernel wants.
_CONVERTING = re.compile(
    r"^cpp_fused(_+(dequantize_per_tensor|quantize_per_tensor|dequantize_per_channel|quantize_per_channel"
    r"|dequantize_affine|quantize_affine|to_copy|clone|view|unsafe_view|permute|transpose|convolution|t))+_\d+$"
)
_TEMPLATE = "micro_gemm"  # in the code of a loop that is a matrix product


def profile_inductor(package: Path, session: Session, batches: Sequence[Arrays], calls: int) -> Execution | Unmeasured:
    """Say what a session executes: by time where the profiler explains a call, else by count from the package."""
    executed = session.executed()
    if executed.get("mode") == "just-in-time":
        breaks, recompiles = executed.get("graph_breaks"), executed.get("recompiles")
        return profile_torch(session.timed, batches, calls, graph_breaks=breaks, recompiles=recompiles)
    wrapper, kernels = packaged_code(package)
    runs = tuple(runs_of(wrapper, kernels))
    if not runs:
        return Unmeasured(f"{package.name} holds no code that shows its calls")
    watched = watch_torch(session.timed, batches, min(calls, MOST_CALLS))
    counted = by_count([runs])
    fallbacks = (*missing_int8(wrapper, runs), *wider(counted))
    seen = _share_seen(watched)
    if seen >= ENOUGH_SEEN:
        told = timed_execution(f"{SOURCE}, which explains {seen:.0%} of a call", watched)
        if isinstance(told, Execution):
            return dataclasses.replace(told, fallbacks=fallbacks)
    return Execution(
        f"AOTInductor's packaged code (PyTorch's profiler explains {seen:.0%} of a call)",
        basis="count",
        calls=len(watched.watched_s),
        operators=counted,
        outside_share=Unmeasured("PyTorch's profiler does not see a package's own kernels"),
        fallbacks=fallbacks,
    )


def _share_seen(watched: Watched) -> float:
    """Return the share of a plain call that the profiler's operators account for, at most 1."""
    inside = statistics.median(sum(run.seconds for run in runs) for runs in watched.calls)
    return min(1.0, inside / statistics.median(watched.plain_s))


def runs_of(wrapper: str, kernels: str) -> Iterator[Run]:
    """Yield what one call of a package runs, in order: kernels of libraries and generated loops."""
    formats = dict((*_CONSTANT.findall(wrapper), *_INPUT.findall(wrapper)))
    body = _BODY.search(wrapper)
    products = _products(kernels)
    origin = ""
    for line in body.group().splitlines() if body else ():
        if match := _ORIGIN.search(line):
            origin = match.group(1)
        _learn(line, formats)
        if match := _LOOP.search(line):
            yield _loop(match.group(1), match.group(2), products)
        elif match := _EXTERN.search(line):
            yield _extern(match.group(1), match.group(2), formats)
        elif match := _PROXY.search(line):
            yield _extern(origin or "custom operator", match.group(1), formats)


def _learn(line: str, formats: dict[str, str]) -> None:
    """Note the element types that a line of the wrapper tells."""
    formats.update((name, kind) for kind, name in (*_ALLOCATION.findall(line), *_POINTER.findall(line)))
    formats.update(_DTYPE_VARIABLE.findall(line))
    formats.update((name, formats[source]) for name, source in _MOVE.findall(line) if source in formats)


def _loop(name: str, arguments: str, products: set[str]) -> Run:
    types = [kind for kind, _ in _POINTER.findall(arguments)]
    kind: Kind = "compute" if name in products else "conversion" if _CONVERTING.match(name) else "other"
    return Run(name, _format(types[0]) if types else "", kind)


def _extern(name: str, arguments: str, formats: dict[str, str]) -> Run:
    """Return a library kernel's run, and note its results' element type in ``formats``."""
    words = re.findall(r"\w+", arguments)
    source = next((formats[word] for word in words if word in formats), "")
    told = next((formats[word] for word in words if word.startswith("var_") and word in formats), source)
    for result in _RESULT.findall(arguments):
        formats[result] = told
    if "qconv" in name or "qlinear" in name or "int8pack" in name or "int_mm" in name:
        number_format = "int8"
    else:
        number_format = "int4" if "int4pack" in name else _format(source)
    return Run(name, number_format, "compute" if COMPUTE.search(name) else "other")


def _format(kind: str) -> str:
    """Return the number format of an element type, as C++ (``at::BFloat16``, ``uint8_t``) or torch names it."""
    return _FORMATS.get(kind.lower(), kind)


def _products(kernels: str) -> set[str]:
    """Return the names of generated functions that are matrix products made from a template."""
    parts = re.split(r'extern "C"\s+\S*\s*void\s+', kernels)[1:]
    return {part.split("(", 1)[0].strip() for part in parts if _TEMPLATE in part}


def missing_int8(wrapper: str, runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a sentence for a program with integer weights or quantized tensors of which no product is INT8."""
    quantized = any(_format(kind) == "int8" for _, kind in _CONSTANT.findall(wrapper)) or any(
        "quantize" in run.name for run in runs
    )
    computing = [run for run in runs if run.kind == "compute"]
    if not quantized or not computing or any(run.format in ("int8", "int4") for run in computing):
        return ()
    ran_in = ", ".join(sorted({run.format for run in computing}))
    return (f"the program is quantized, but calls no INT8 kernel: its products and convolutions ran in {ran_in}",)
