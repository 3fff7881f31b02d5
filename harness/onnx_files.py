"""ONNX models as files: the graph, and the files beside it that hold its weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UnsupportedError

MODEL_FILE = "model.onnx"
PRECISION_KEY = "harness.precision"  # of a model's metadata: the number formats that a pass left it to compute in
# A protocol buffer holds 2 GB at most; above this, weights go to a file beside the graph.
EXTERNAL_DATA_BYTES = 1_500_000_000


def copy_onnx(source: Path, directory: Path, shapes: Sequence[tuple[int, ...]] | None = None) -> None:
    """Copy an ONNX file, and the files that hold its weights, to ``model.onnx`` in ``directory``.

    With ``shapes`` (one for each input that has no initializer, in order) the inputs get these fixed sizes.
    Raises UnsupportedError when a weight file lies outside the model's own folder.
    """
    import onnx

    for path in external_files(source):
        target = directory / path.relative_to(source.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if shapes is None:
        shutil.copyfile(source, directory / MODEL_FILE)
        return
    model = onnx.load(str(source), load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    for value, shape in zip(inputs, shapes, strict=True):
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            axis.dim_value = size
    (directory / MODEL_FILE).write_bytes(model.SerializeToString())


def external_files(model: Path) -> list[Path]:
    """Return the files beside a model that hold its weights."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    graph = onnx.load(str(model), load_external_data=False).graph
    names = {ExternalDataInfo(tensor).location for tensor in graph.initializer if uses_external_data(tensor)}
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UnsupportedError(f"{model.name} keeps weights outside its own folder ({name})")
    return [model.parent / name for name in sorted(names)]


def weights_among_inputs(model: Path) -> set[str]:
    """Return the names of weights that a file lists among its inputs too, so that a caller could replace them."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    return {tensor.name for tensor in graph.initializer} & {value.name for value in graph.input}
