"""Reads exported programs: which layers compute, and which of them on integers.

A quantized program says so by pairs around a layer: what it takes was dequantized just before, which a compiler
may turn into one kernel on integers, or not.
"""

from __future__ import annotations

from typing import Any

_PRODUCTS = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
_PRODUCTS |= {"convolution", "addmm", "mm", "bmm", "matmul", "_int_mm", "_weight_int4pack_mm_for_cpu"}


def computing_layers(graph: Any) -> list[Any]:
    """Return the nodes of an ``fx.Graph`` that are convolutions, linear layers or products with a constant weight."""
    return [node for node in graph.nodes if node.op == "call_function" and _packet(node.target) in _PRODUCTS]


def integer_layers(graph: Any) -> list[Any]:
    """Return the computing nodes whose input and weight were dequantized just before."""
    return [node for node in computing_layers(graph) if all(map(_is_dequantized, node.args[:2]))]


def _is_dequantized(node: Any) -> bool:
    return getattr(node, "op", "") == "call_function" and _packet(node.target).startswith("dequantize_per_")


def _packet(target: Any) -> str:
    """Return an operator's name without namespace and overload: ``conv2d`` of ``aten.conv2d.default``."""
    return str(getattr(target, "__name__", target)).partition(".")[0]
