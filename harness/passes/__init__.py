"""Optimization passes. Importing this fills ``PASSES``; torch and onnx wait until a pass is applied."""

from harness.passes import onnx_graph, precision, quantize, structure, train  # noqa: F401 (they register themselves)
from harness.passes.base import PASSES, BuildContext, Change, Pass, Stage

__all__ = ["PASSES", "BuildContext", "Change", "Pass", "Stage"]
