"""What ONNX Runtime executes, from its own profile: one event a node and call, with the types of its tensors."""

from __future__ import annotations

import json
import mmap
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays
from harness.backends.profiles import WARMUP_CALLS, Kind, Run, Watched, sandwich, timed_execution
from harness.schema import Execution, Unmeasured

SOURCE = "ONNX Runtime profile"

_COMPUTE = re.compile(r"Conv|Gemm|MatMul|Attention|LSTM|GRU|RNN|Einsum|MoE")
_CONVERSIONS = {
    "Cast", "DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear", "ReorderInput", "ReorderOutput",
}  # fmt: skip
# Their 8-bit weights are packed at load and then missing among the types of the trace.
_INTEGER = re.compile(r"^(QLinear|QGemm|QAttention|QOrdered|ConvInteger|MatMulInteger|DynamicQuantize|QEmbed)")
_PACKED, _DEFAULT_BITS = "MatMulNBits", 4
_HOLDERS = {"If", "Loop", "Scan", "SequenceMap"}  # their time is that of the nodes inside them
_FORMATS = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16",
    "int8": "int8", "uint8": "int8", "int4": "int4", "uint4": "int4",
}  # fmt: skip
# Part of a node's name where ONNX Runtime put Casts around it, since it has no float16 kernel for the CPU. The
# Casts themselves may be optimized away again.
_PROMOTED = "InsertedPrecisionFreeCast_"


def profile_onnx_runtime(
    model: Path,
    open_profiled: Callable[[Path], Any],
    plain: Callable[[Arrays], object],
    batches: Sequence[Arrays],
    calls: int,
) -> Execution | Unmeasured:
    """Watch ``calls`` calls of a session of ``model`` that ``open_profiled(prefix)`` opens with profiling on.

    The profile lies in a temporary folder until it was read.
    """
    with tempfile.TemporaryDirectory(prefix="harness-profile-") as folder:
        session = open_profiled(Path(folder) / "onnxruntime")
        names = [item.name for item in session.get_inputs()]

        def watched(batch: Arrays) -> object:
            return session.run(None, dict(zip(names, batch, strict=True)))

        plain_s, watched_s = sandwich(plain, watched, batches, calls)
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = nodes_of_calls(events)[WARMUP_CALLS:]
    holds_packed = any(node["args"]["op_name"] == _PACKED for node in chain(*nodes))
    packed = packed_format(model) if holds_packed else ""
    runs = [[run_of(node, packed) for node in call] for call in nodes]
    edges = _floating(session.get_inputs()), _floating(session.get_outputs())
    return timed_execution(SOURCE, Watched(runs, plain_s, watched_s), fallbacks(nodes, *edges))


def nodes_of_calls(events: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the events of nodes, grouped by the call that they belong to; ``dur`` in µs is the node's own time."""
    spans = [(e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run"]
    nodes = [dict(e) for e in events if e.get("cat") == "Node" and str(e["name"]).endswith("_kernel_time")]
    calls = [[node for node in nodes if start <= node["ts"] < end] for start, end in spans]
    for call in calls:
        for holder in (node for node in call if node["args"]["op_name"] in _HOLDERS):
            _take_inner_time(holder, call)
    return calls


def _take_inner_time(holder: dict[str, Any], call: Sequence[dict[str, Any]]) -> None:
    """Subtract from a holder's time that of the nodes directly inside it; outer holders come first in time."""
    start, end = holder["ts"], holder["ts"] + holder["dur"]
    inside = [n for n in call if n is not holder and start <= n["ts"] and n["ts"] + n["dur"] <= end]
    reached = start
    for node in sorted(inside, key=lambda n: (n["ts"], -n["dur"])):
        if node["ts"] >= reached:
            holder["dur"] -= node["dur"]
            reached = node["ts"] + node["dur"]


def run_of(node: Mapping[str, Any], packed: str = "") -> Run:
    """Return what one node's event says; ``packed`` is the format of weights packed in groups of bits."""
    name = node["args"]["op_name"]
    return Run(name, packed if name == _PACKED else format_of(name, node["args"]), kind_of(name), node["dur"] / 1e6)


def kind_of(name: str) -> Kind:
    """Return the kind of an operator of ONNX or of ONNX Runtime's own."""
    if name in _CONVERSIONS:
        return "conversion"
    return "compute" if _COMPUTE.search(name) else "other"


def format_of(name: str, args: Mapping[str, Any]) -> str:
    """Return the number format of a node from its name and the types of its inputs."""
    if _INTEGER.match(name):
        return "int8"
    tensors = args.get("input_type_shape") or args.get("output_type_shape") or ()
    types = [kind for item in tensors for kind in item]
    return _FORMATS.get(types[0], types[0]) if types else ""


def packed_format(model: Path) -> str:
    """Return ``int4`` or ``int8`` for the weights of a model's MatMulNBits; empty where it has both.

    The profile does not tell, since such weights are repacked at load. The attribute ``bits`` is found by its
    bytes in the protobuf, without the package onnx: a name, a number, and the type that says it is one.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = {bits[0] for bits in re.findall(rb"\x0a\x04bits\x18([\x01-\x08])\xa0\x01\x02", content, re.DOTALL)}
    return f"int{(found or {_DEFAULT_BITS}).pop()}" if len(found) < 2 else ""


def fallbacks(nodes: Sequence[Sequence[Mapping[str, Any]]], inputs: int, outputs: int) -> list[str]:
    """Return sentences on what did not run as it was asked, of a graph with that many floating-point ends."""
    call = nodes[0] if nodes else []
    names = Counter(node["args"]["op_name"] for node in call)
    computing = [run for run in map(run_of, call) if run.kind == "compute"]
    wide = _listed(run.name for run in computing if run.format == "float32")
    sentences = []
    if names["DequantizeLinear"] and wide and not any(run.format == "int8" for run in computing):
        sentences.append(f"the model is quantized, but {wide} ran in float32")
    # What enters must be quantized and what leaves dequantized; the rest could have been fused.
    unfused = min(names["QuantizeLinear"] - inputs, names["DequantizeLinear"] - outputs)
    if unfused > 0:
        sentences.append(f"{unfused} QuantizeLinear/DequantizeLinear pairs were not fused into integer operators")
    signed = _listed(node["args"]["op_name"] for node in call if _takes_signed(node["args"]))
    if signed:
        sentences.append(f"{signed} took signed INT8 activations (S8S8)")
    if wide and any(_PROMOTED in node["name"] for node in call):
        sentences.append(f"float16 asked: {wide} ran in float32, with {names['Cast']} Casts")
    return sentences


def _listed(names: Iterable[str]) -> str:
    """Return ``3 Conv, 1 Gemm``; empty for nothing."""
    return ", ".join(f"{count} {name}" for name, count in Counter(names).items())


def _takes_signed(args: Mapping[str, Any]) -> bool:
    """Tell whether an integer product's activations, its first input, are signed."""
    types = args.get("input_type_shape", ())
    return bool(args["op_name"].startswith(("QLinearConv", "QLinearMatMul", "QGemm")) and types and "int8" in types[0])


def _floating(tensors: Sequence[Any]) -> int:
    return sum("float" in item.type or "double" in item.type for item in tensors)
