"""Counts what a call must compute and move at the least: a torch module by its operators, an ONNX file by its graph.

Only products of matrices and their kin (convolution, attention, recurrence) are counted; a multiply-add is two
operations. Normalization, activation, pooling and the like are left out and named. Where an operator that may be heavy
cannot be counted, there is no number at all: one too small would pass for a poor use of the hardware.

The counters of ONNX graphs in other packages (onnx-tool 1.0, for one) also count element-wise operators, each with a
weight of its own, so their figures could not stand beside those of torch's counter. Hence the small one in
``onnx_work``, on the shapes that onnx itself infers.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.backends.base import Arrays
from harness.backends.compiled import DESCRIPTION_FILE, read_compiled
from harness.backends.tensor_formats import inner_tensors
from harness.backends.torch_eager import to_arrays
from harness.onnx_files import MODEL_FILE
from harness.onnx_inputs import open_session, run_session
from harness.onnx_work import NotCountable, count_graph, graph_weights
from harness.openvino_files import IR_FILE, ir_weights
from harness.schema import Unmeasured, Work
from harness.zoo import OnnxFile

# Operators of torch that may hold most of a model's arithmetic. Where its counter passes over one, nothing is claimed.
_HEAVY = re.compile(
    r"attention|transformer|rnn|lstm|gru|trilinear|conv|matmul|einsum|linear|cdist|fft|mm$|mm_|(^|_)(mv|v?dot|inner)$"
)


def count_work(module: Any, inputs: Arrays, batch_size: int, directory: Path) -> Work | Unmeasured:
    """Return the work of one call of ``module`` on ``inputs``, a batch of ``batch_size`` examples.

    ``directory`` holds what the module was lowered to, whose weights count.
    """
    torch = sys.modules.get("torch")
    try:
        if isinstance(module, OnnxFile):
            operations, uncounted = count_graph(module.path, inputs)
            outputs, counter = run_session(open_session(module.path), inputs), "the ONNX graph"
        elif torch is not None and isinstance(module, torch.nn.Module):
            operations, uncounted, outputs = _count_module(module, inputs)
            counter = "torch's FlopCounterMode"
        else:
            return Unmeasured("only torch modules and ONNX graphs can be counted")
        weights = _weights(module, directory)
    except NotCountable as error:
        return Unmeasured(str(error))
    if not operations:
        return Unmeasured("the model has no product of matrices to count")
    return Work(
        flops=operations / batch_size,
        input_bytes=sum(a.nbytes for a in inputs) / batch_size,
        output_bytes=sum(a.nbytes for a in outputs) / batch_size,
        weight_bytes=sum(weights.values()),
        weight_format=max(weights, key=lambda name: weights[name], default="none"),
        source=f"{counter}, on {batch_size} example{'s' if batch_size != 1 else ''}",
        uncounted=uncounted,
    )


def _count_module(module: Any, inputs: Arrays) -> tuple[float, tuple[str, ...], Arrays]:
    """Return operations, the operators passed over, and the outputs. Raises NotCountable."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    mapping = _more_formulas()
    passed_over: Counter[str] = Counter()

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
        """Notes what the counter has no formula for; views and fillings compute nothing."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            packet = func._overloadpacket
            if packet not in flop_registry and packet not in mapping and not func.is_view:
                passed_over[packet.__name__.removeprefix("_")] += 1
            return func(*args, **(kwargs or {}))

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operator, which nothing counts
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    try:
        with torch.inference_mode(), Recorder(), counter:  # type: ignore[no-untyped-call]
            outputs = to_arrays(module.eval()(*(torch.from_numpy(a) for a in inputs)))
    except Exception as error:
        raise NotCountable(f"torch's counter cannot follow the module: {type(error).__name__}: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    heavy = sorted(name for name in passed_over if _HEAVY.search(name))
    if heavy:
        raise NotCountable(f"torch's counter has no formula for {', '.join(heavy)}")
    names = tuple(name for name, _ in passed_over.most_common() if name not in _MOVES)
    return float(counter.get_total_flops()), names, outputs


# Operators that copy or fill, and compute nothing.
_MOVES = {"clone", "copy_", "to_copy", "cat", "stack", "empty", "zeros", "ones", "full", "contiguous", "arange",
          "empty_like", "zeros_like", "unsafe_view", "reshape_alias", "index", "embedding", "constant_pad_nd",
          "local_scalar_dense", "scalar_tensor", "lift_fresh", "fill_", "index_select", "native_dropout"}  # fmt: skip


def _more_formulas() -> dict[Any, Callable[..., int]]:
    """Return what torch's counter lacks on a CPU: fused attention, oneDNN's recurrent layers, integer products."""
    import torch
    from torch.utils.flop_counter import sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def recurrent(inputs: Any, weight_input: Any, weight_hidden: Any, *_: Any, **__: Any) -> int:
        steps = inputs[0] * inputs[1]  # time by batch
        return int(2 * steps * (weight_input[0] * weight_input[1] + weight_hidden[0] * weight_hidden[1]))

    def product(inputs: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        return int(2 * inputs[0] * inputs[1] * out_shape[-1])

    found = {
        "_scaled_dot_product_flash_attention_for_cpu": attention,
        "mkldnn_rnn_layer": recurrent,
        "_int_mm": product,
        "_weight_int4pack_mm_for_cpu": product,
        "_weight_int8pack_mm": product,
    }
    return {getattr(torch.ops.aten, name): formula for name, formula in found.items() if hasattr(torch.ops.aten, name)}


def _weights(module: Any, lowered: Path) -> Counter[str]:
    """Return the bytes of what was lowered by number format: of the graph or package, else of the module."""
    if (lowered / IR_FILE).is_file():
        return ir_weights(lowered / IR_FILE)
    if (lowered / MODEL_FILE).is_file():
        return graph_weights(lowered / MODEL_FILE)
    if (lowered / DESCRIPTION_FILE).is_file() and (constants := read_compiled(lowered).constants):
        return Counter(constants)
    if isinstance(module, OnnxFile):
        return graph_weights(module.path)
    found: Counter[str] = Counter()
    for held in (*module.parameters(), *module.buffers()):
        for _, tensor in inner_tensors(held):
            found[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * tensor.element_size()
    return found
