"""Reads an AOTInductor package: the kernels that its code calls, and the constants it carries.

The package keeps the C++ that was compiled. It is the only witness: torch's profiler does not see INT8 operators
that the compiled code calls.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from pathlib import Path

# Kernels that multiply integers, or read integer weights, by parts of their names.
_INTEGER_KERNELS = ("qconv", "qlinear", "int_mm", "int8pack", "int4pack")
_CALL = re.compile(r"\baoti_torch_(?:cpu|mkldnn|cuda)_+([a-z0-9_]+?)(?:_tensor|_out)?\(")
_CONSTANT = re.compile(r"constants_info_\[(\d+)\]\.(?:dtype = [^;]*?dtype_(?P<format>\w+)|data_size = (?P<bytes>\d+));")


def packaged_code(package: Path) -> tuple[str, str]:
    """Return the C++ of the function that calls the kernels, and of the generated loops; empty where it has none."""
    with zipfile.ZipFile(package) as archive:
        names = sorted(archive.namelist())
        wrapper, loops = (
            "\n".join(archive.read(name).decode() for name in names if name.endswith(ending))
            for ending in (".wrapper.cpp", ".kernel.cpp")
        )
    return wrapper, loops


def kernel_calls(source: str) -> Counter[str]:
    """Return library kernel → calls in the code, such as ``qconv_pointwise``; its own loops are not among them."""
    return Counter(_CALL.findall(source))


def integer_kernels(source: str) -> dict[str, int]:
    """Return those kernels that compute with integers, and how often the code calls them."""
    calls = kernel_calls(source)
    return {name: n for name, n in sorted(calls.items()) if any(part in name for part in _INTEGER_KERNELS)}


def constant_bytes(source: str) -> dict[str, int]:
    """Return number format → bytes of the constants that the package carries, weights among them."""
    formats: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for found in _CONSTANT.finditer(source):
        if found["format"]:
            formats[found[1]] = found["format"]
        else:
            sizes[found[1]] = int(found["bytes"])
    total: Counter[str] = Counter()
    for index, name in formats.items():
        total[name] += sizes.get(index, 0)
    return dict(total)
