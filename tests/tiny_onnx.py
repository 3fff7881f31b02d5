"""ONNX graphs of a few nodes, written by hand: exactly the file that a test is about.

A test file that imports this is skipped where onnx is not installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, UINT8, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.STRING
Shape = Sequence[int | str | None]


def tensor(name: str, shape: Shape | None, kind: int = FLOAT) -> Any:
    """Return an input or output; a size that is a text or None is free."""
    return helper.make_tensor_value_info(name, kind, shape)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """Return a node; names are separated by blanks."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    opset: int = 17,
    ir_version: int = 8,
    listed: bool = False,
    **weights: Any,
) -> Path:
    """Write a model and return its path; ``listed`` weights stand among the inputs, as old exporters wrote them."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    also = [tensor(t.name, list(t.dims), t.data_type) for t in tensors] if listed else []
    graph = helper.make_graph(nodes, "tiny", [*inputs, *also], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    path.write_bytes(model.SerializeToString())
    return path


def linear(path: Path, batch: int | str | None = "N", **more: Any) -> Path:
    """Write (batch, 4) → (batch, 3): one Gemm with weights ``w`` and ``b``."""
    rng = np.random.default_rng(0)
    return save(
        path,
        [node("Gemm", "x w b", "y")],
        [tensor("x", [batch, 4])],
        [tensor("y", [batch, 3])],
        w=rng.normal(size=(4, 3)).astype(np.float32),
        b=rng.normal(size=3).astype(np.float32),
        **more,
    )


def weights_outside(path: Path, location: str) -> Path:
    """Write a model whose weight is said to lie in another file, which is not written."""
    model = onnx.load(str(linear(path)))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path
