"""What OpenVINO executes, from the counters of its nodes and the model that it made for its own use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.backends.base import Arrays
from harness.backends.profiles import WARMUP_CALLS, Kind, Run, Watched, family, sandwich, timed_execution
from harness.schema import Execution, Unmeasured

SOURCE = "OpenVINO counters"

_COMPUTE = re.compile(r"Convolution|FullyConnected|MatMul|Attention|MHA|RNN|LSTM|GRU|QKVProjection|MLP")
_CONVERSIONS = {"Convert", "FakeQuantize", "Quantize", "Reorder"}
_FORMATS = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "int8",
    "i4": "int4", "u4": "int4", "nf4": "int4",
}  # fmt: skip
# What a generated kernel may hold and still do nothing but change the number format.
_QUANTIZING = {"Convert", "FakeQuantize", "Multiply", "Subtract"}
_GENERATED = "Subgraph"


@dataclass(frozen=True)
class Node:
    """One node of the compiled model.

    Attributes:
        layer: class of the operator.
        kernel: implementation, such as ``brgemm_avx512_i8``; it ends with the number format.
        inputs, output: element types.
        holds: types of the operators of the model as read that it took in.
    """

    layer: str
    kernel: str
    inputs: tuple[str, ...]
    output: str
    holds: tuple[str, ...]


def profile_openvino(
    model: Any,
    compiled: Any,
    asked: str,
    plain: Callable[[Arrays], object],
    batches: Sequence[Arrays],
    calls: int,
) -> Execution | Unmeasured:
    """Watch ``calls`` calls of ``compiled``, which was compiled from ``model`` with counters on.

    The counters are means over every call since it was compiled, the slow first one included: 14 ms of a node that
    takes 30 µs. So they are read after the warm-up as well, and its part is taken out.
    """
    request = compiled.create_infer_request()
    counted = 0
    warm: dict[str, float] = {}

    def watched(batch: Arrays) -> object:
        nonlocal counted, warm
        result = request.infer(list(batch), share_inputs=True, share_outputs=False)
        counted += 1
        if counted == WARMUP_CALLS:
            warm = _means(request)
        return result

    plain_s, watched_s = sandwich(plain, watched, batches, calls)
    nodes = _nodes(model, compiled)
    seconds = {
        name: max(0.0, (mean * counted - warm.get(name, 0.0) * WARMUP_CALLS) / (counted - WARMUP_CALLS))
        for name, mean in _means(request).items()
    }
    runs = [run_of(nodes[name], s) for name, s in seconds.items() if name in nodes]
    said = fallbacks([nodes[name] for name in seconds if name in nodes], asked)
    return timed_execution(SOURCE, Watched([runs], plain_s, watched_s), said)


def _means(request: Any) -> dict[str, float]:
    """Return executed node → mean seconds since it was compiled; told in whole µs, cut off, hence the half."""
    return {
        item.node_name: item.real_time.total_seconds() + 0.5e-6
        for item in request.profiling_info
        if item.status.name == "EXECUTED"
    }


def _nodes(model: Any, compiled: Any) -> dict[str, Node]:
    """Return the nodes of the compiled model by name."""
    read = {op.get_friendly_name(): op.get_type_name() for op in model.get_ops()}
    nodes = {}
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = {key: str(getattr(value, "value", value)) for key, value in op.get_rt_info().items()}
        holds = [name for name in info.get("originalLayersNames", "").split(",") if name]
        layer = info.get("layerType", op.get_type_name())
        nodes[op.get_friendly_name()] = Node(
            layer,
            info.get("primitiveType", ""),
            tuple(i.get_element_type().get_type_name() for i in op.inputs()),
            info.get("outputPrecisions", "").split(",")[0],
            tuple(read.get(name) or re.sub(r"_\d+$", "", name.rsplit("/")[-1]) for name in holds),
        )
    return nodes


def run_of(node: Node, seconds: float) -> Run:
    """Return a node's run."""
    kind = kind_of(node)
    return Run(_name(node, kind), format_of(node, kind), kind, seconds)


def kind_of(node: Node) -> Kind:
    """Return the kind of a node; of a generated kernel by what it holds."""
    if node.layer in _CONVERSIONS:
        return "conversion"
    if _COMPUTE.search(node.layer) or (node.layer == _GENERATED and any(map(_COMPUTE.search, node.holds))):
        return "compute"
    changes = node.inputs[:1] != () and _FORMATS.get(node.inputs[0]) != _FORMATS.get(node.output)
    return "conversion" if changes and node.holds and set(node.holds) <= _QUANTIZING else "other"


def _name(node: Node, kind: Kind) -> str:
    if _packed_weights(node, kind):
        return f"{node.layer}Compressed"  # as the counters call it
    if node.layer != _GENERATED or kind == "other":
        return node.layer
    if kind == "conversion":
        return f"{_GENERATED} (quantization)"
    return f"{_GENERATED} ({'attention' if 'Softmax' in node.holds else 'MatMul'})"


def _packed_weights(node: Node, kind: Kind) -> bool:
    """Tell whether a node multiplies floating-point activations by integer weights."""
    activations, weights = (*node.inputs, "", "")[:2]
    return kind == "compute" and _FORMATS.get(weights) in ("int8", "int4") and _FORMATS.get(activations) != "int8"


def format_of(node: Node, kind: Kind) -> str:
    """Return the format that a node computes in: of packed weights, else what its kernel's name ends with."""
    if _packed_weights(node, kind):
        return _FORMATS[node.inputs[1]]
    ending = node.kernel.rsplit("_", 1)[-1].lower()
    return _FORMATS.get(ending) or _FORMATS.get(node.output, node.output)


def fallbacks(nodes: Sequence[Node], asked: str) -> list[str]:
    """Return sentences on computing nodes of another floating-point format than ``asked``, or without a fast kernel."""
    computing = [(node, format_of(node, "compute")) for node in nodes if kind_of(node) == "compute"]
    floating = ((node, f) for node, f in computing if "float" in f and f != asked)
    other = Counter((family(_name(node, "compute")), f) for node, f in floating)
    totals = Counter(family(_name(n, "compute")) for n, _ in computing)
    sentences = [f"{asked} asked: {n} of {totals[name]} {name} ran in {f}" for (name, f), n in other.items()]
    slow = Counter(n.layer for n, _ in computing if n.kernel.startswith("ref"))
    return sentences + [f"{count} {name} ran without an optimized kernel" for name, count in slow.items()]
