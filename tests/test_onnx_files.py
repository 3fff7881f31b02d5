from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import onnx_files
from harness.errors import UnsupportedError
from harness.onnx_files import MODEL_FILE, copy_onnx, external_files, weights_among_inputs
from tests.tiny_onnx import linear, node, onnx, save, tensor, weights_outside


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model in a folder of its own with its weights in two files, one of them in a subfolder."""
    path = linear(tmp_path / "there" / "net.onnx") if (tmp_path / "there").mkdir() is None else tmp_path
    (tmp_path / "there" / "weights").mkdir()
    model = onnx.load(str(path))
    for item, location in zip(model.graph.initializer, ("net.data", "weights/bias.bin"), strict=True):
        (path.parent / location).write_bytes(item.raw_data)
        onnx.external_data_helper.set_external_data(item, location)
        item.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def outputs(path: Path, *arrays: Any) -> Any:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def input_shapes(path: Path) -> list[list[Any]]:
    graph = onnx.load(str(path), load_external_data=False).graph
    return [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input]


def test_a_model_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path = linear(tmp_path / "net.onnx")
    (tmp_path / "to").mkdir()
    copy_onnx(path, tmp_path / "to")
    assert [p.name for p in (tmp_path / "to").iterdir()] == [MODEL_FILE]
    assert (tmp_path / "to" / MODEL_FILE).read_bytes() == path.read_bytes()


def test_external_weights_are_copied_with_their_places(tmp_path: Path, external: Path) -> None:
    assert external_files(external) == [external.parent / "net.data", external.parent / "weights" / "bias.bin"]
    target = tmp_path / "to"
    target.mkdir()
    copy_onnx(external, target)
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()) == [
        MODEL_FILE,
        "net.data",
        "weights/bias.bin",
    ]
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(outputs(target / MODEL_FILE, x), outputs(external, x))


def test_a_copy_may_have_its_shapes_fixed(tmp_path: Path, external: Path) -> None:
    target = tmp_path / "to"
    target.mkdir()
    copy_onnx(external, target, [(2, 4)])
    assert input_shapes(target / MODEL_FILE) == [[2, 4]]
    assert input_shapes(external) == [["N", 4]]
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(outputs(target / MODEL_FILE, x), outputs(external, x))


def test_fixed_shapes_count_only_inputs_that_are_no_weights(tmp_path: Path) -> None:
    path = linear(tmp_path / "net.onnx", listed=True, ir_version=3)
    (tmp_path / "to").mkdir()
    copy_onnx(path, tmp_path / "to", [(5, 4)])
    assert input_shapes(tmp_path / "to" / MODEL_FILE) == [[5, 4], [4, 3], [3]]


@pytest.mark.parametrize("location", ["/etc/weights.bin", "../weights.bin", "a/../../weights.bin"])
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, location: str) -> None:
    path = weights_outside(tmp_path / "net.onnx", location)
    (tmp_path / "to").mkdir()
    with pytest.raises(UnsupportedError) as caught:
        copy_onnx(path, tmp_path / "to")
    assert str(caught.value) == f"net.onnx keeps weights outside its own folder ({location})"
    assert list((tmp_path / "to").iterdir()) == []


def test_weights_among_the_inputs_are_named(tmp_path: Path) -> None:
    assert weights_among_inputs(linear(tmp_path / "new.onnx")) == set()
    assert weights_among_inputs(linear(tmp_path / "old.onnx", listed=True, ir_version=3)) == {"w", "b"}


def test_an_input_with_the_name_of_no_weight_is_none(tmp_path: Path) -> None:
    nodes = [node("Add", "x y", "z")]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", [1]), tensor("y", [1])], [tensor("z", [1])])
    assert weights_among_inputs(path) == set()


def test_the_file_that_external_data_is_needed_from_fits_a_protocol_buffer() -> None:
    assert onnx_files.EXTERNAL_DATA_BYTES < 2**31
