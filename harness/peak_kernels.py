"""Measures a host's peaks in a process of its own: ``python -m harness.peak_kernels``; writes one JSON file.

Every kernel is run for several sizes and repeats; the best counts, since everything that disturbs only takes away.
Heavy libraries are imported where they are used, and each is optional.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.peaks import Arithmetic, Bandwidth

FORMATS = ("float32", "bfloat16", "float16", "int8")
SIZES = (512, 1024, 1536)
REPEATS = 12
LEAST_S = 0.01  # of one timing, or the clock and the call would count
PR_SET_PDEATHSIG = 1

Call = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How much is tried.

    Attributes:
        sizes: rows of the matrices.
        working_sets: bytes passed over, the largest well beyond the last cache.
        least_s: of one timing.
    """

    working_sets: tuple[int, ...]
    sizes: tuple[int, ...] = SIZES
    repeats: int = REPEATS
    least_s: float = LEAST_S


def best_seconds(call: Call, effort: Effort, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the least seconds of one call over the repeats, each long enough to be timed."""
    call()
    began = clock()
    call()
    times = max(1, int(effort.least_s / max(clock() - began, 1e-9)))
    best = float("inf")
    for _ in range(effort.repeats):
        began = clock()
        for _ in range(times):
            call()
        best = min(best, (clock() - began) / times)
    return best


def arithmetic(number_format: str, threads: int, effort: Effort) -> Arithmetic | str:
    """Return the fastest product of matrices of a number format, or why there is none."""
    found: list[Arithmetic] = []
    reasons: list[str] = []
    for kernel, make in _PRODUCTS[number_format].items():
        try:
            for size in effort.sizes:
                seconds = best_seconds(make(size, threads), effort)
                found.append(Arithmetic(number_format, 2 * size**3 / seconds, kernel, size))
        except ImportError as error:
            reasons.append(f"{error.name} is not installed")
        except Exception as error:  # noqa: BLE001 (a runtime without such a kernel raises what it likes)
            reasons.append(f"{kernel}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return max(found, key=lambda a: a.flops_per_s, default="; ".join(reasons))


def bandwidth(working_set: int, threads: int, effort: Effort) -> Bandwidth:
    """Return the fastest pass over data of about ``working_set`` bytes."""
    count = max(working_set // 8, 1024)  # two arrays of float32
    found = [
        Bandwidth(8 * count, 8 * count / best_seconds(call, effort), kernel) for kernel, call in _passes(count, threads)
    ]
    return max(found, key=lambda b: b.bytes_per_s)


def measure(threads: int, effort: Effort) -> dict[str, Any]:
    """Return everything as JSON-ready data: ``arithmetic``, ``bandwidths`` and ``missing``."""
    products = {name: arithmetic(name, threads, effort) for name in FORMATS}
    return {
        "arithmetic": [asdict(a) for a in products.values() if isinstance(a, Arithmetic)],
        "bandwidths": [asdict(bandwidth(size, threads, effort)) for size in effort.working_sets],
        "missing": {name: reason for name, reason in products.items() if isinstance(reason, str)},
    }


def _passes(count: int, threads: int) -> Iterator[tuple[str, Call]]:
    """Yield a copy (one array read, one written) and a dot product (two arrays read)."""
    try:
        import torch
    except ImportError:
        source, target = np.ones(count, np.float32), np.ones(count, np.float32)
        yield "copy", lambda: np.copyto(target, source)
        yield "dot", lambda: np.dot(target, source)
        return
    torch.set_num_threads(threads)
    a, b = torch.ones(count), torch.ones(count)
    yield "copy", lambda: b.copy_(a)
    yield "dot", lambda: torch.dot(a, b)


def _numpy_product(size: int, threads: int) -> Call:  # noqa: ARG001 (the environment has said it already)
    a = np.ones((size, size), np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out)


def _torch_product(number_format: str) -> Callable[[int, int], Call]:
    def make(size: int, threads: int) -> Call:
        import torch

        torch.set_num_threads(threads)
        kind = getattr(torch, number_format)
        a = torch.randn(size, size).to(kind)
        b, out = a.clone(), torch.empty_like(a)

        def call() -> object:
            with torch.inference_mode():
                return torch.matmul(a, b, out=out)

        return call

    return make


def _torch_int8(size: int, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    a = torch.randint(-100, 100, (size, size), dtype=torch.int8)
    b = a.clone()
    return lambda: torch._int_mm(a, b)


def _onnx_product(operator: str) -> Callable[[int, int], Call]:
    """Make a session with one node and a constant right side, as a layer has it."""

    def make(size: int, threads: int) -> Call:
        import onnx
        import onnxruntime

        helper, kinds = onnx.helper, onnx.TensorProto
        integer = operator == "MatMulInteger"
        left, out = (kinds.UINT8, kinds.INT32) if integer else (kinds.FLOAT, kinds.FLOAT)
        weights = np.ones((size, size), np.int8 if integer else np.float32)
        graph = helper.make_graph(
            [helper.make_node(operator, ["a", "b"], ["y"])],
            "product",
            [helper.make_tensor_value_info("a", left, [size, size])],
            [helper.make_tensor_value_info("y", out, [size, size])],
            [onnx.numpy_helper.from_array(weights, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        fed = {"a": np.ones((size, size), np.uint8 if integer else np.float32)}
        return lambda: session.run(None, fed)

    return make


_PRODUCTS: dict[str, dict[str, Callable[[int, int], Call]]] = {
    "float32": {
        "torch.matmul": _torch_product("float32"),
        "ONNX Runtime MatMul": _onnx_product("MatMul"),
        "numpy.matmul": _numpy_product,
    },
    "bfloat16": {"torch.matmul": _torch_product("bfloat16")},
    "float16": {"torch.matmul": _torch_product("float16")},
    "int8": {"torch._int_mm": _torch_int8, "ONNX Runtime MatMulInteger": _onnx_product("MatMulInteger")},
}


def main(argv: list[str] | None = None) -> None:
    """Measure and write the file; the process is pinned before anything heavy is imported."""
    parser = argparse.ArgumentParser(prog="harness.peak_kernels")
    parser.add_argument("--request", type=Path, required=True, help="JSON: parent, threads, cores, effort")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    request = json.loads(arguments.request.read_text(encoding="utf-8"))
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != request["parent"]:
        sys.exit("the process that asked for this is gone")
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    given = request["effort"]
    effort = Effort(tuple(given["working_sets"]), tuple(given["sizes"]), given["repeats"], given["least_s"])
    found = measure(request["threads"], effort)
    arguments.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
