from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UserError
from harness.inspection import Inspection, inspect_model
from harness.schema import InputSpec, ModelSource, Trial

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("own_imports")

NET = """
import numpy as np
import torch
from harness.zoo import Model, Split

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

class Pair(torch.nn.Module):
    def forward(self, x):
        return {"mean": x.mean(1), "all": [x, (x > 0, None)]}

class Summed(torch.nn.Module):
    def forward(self, x):
        return x.sum(0)

class One(torch.nn.Module):
    def forward(self, x):
        return x.reshape(1, 4)

def net(): return Net(), torch.zeros(1, 4)
def pair(): return Pair(), torch.zeros(1, 4)
def summed(): return Summed(), torch.zeros(1, 4)
def one(): return One(), torch.zeros(1, 4)
def bare(): return Net()

MODEL = Model(name="own", task="t", summary="s", build=lambda seed: Net(), metric="accuracy", source="", license="",
              data=lambda split: Split((np.zeros((9, 4), np.float32),), np.zeros(9, np.int64)))
"""
X = InputSpec("x", "float32", ("batch", 4))


def look(tmp_path: Path, name: str, *inputs: InputSpec, batch_size: int = 1) -> Inspection:
    (tmp_path / "net.py").write_text(NET)
    source = ModelSource("python", f"{tmp_path / 'net.py'}:{name}", inputs=inputs)
    return inspect_model(Trial("t", "e", "mine", "torch", batch_size=batch_size, source=source))


def look_at_file(path: Path, *inputs: InputSpec, batch_size: int = 1) -> Inspection:
    pytest.importorskip("onnxruntime")
    source = ModelSource("onnx", str(path), inputs=inputs)
    return inspect_model(Trial("t", "e", "mine", "onnxruntime", batch_size=batch_size, source=source))


def complaint(function: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_module_that_follows_its_batch_keeps_the_batch_axis(tmp_path: Path) -> None:
    found = look(tmp_path, "net", batch_size=5)
    assert found.inputs == (InputSpec("input", "float32", ("batch", 4)),)
    assert found.outputs == ((5, 3),)
    assert found.call_s > 0
    assert not found.replaceable_weights


def test_nested_outputs_are_listed_flat(tmp_path: Path) -> None:
    assert look(tmp_path, "pair", batch_size=2).outputs == ((2,), (2, 4), (2, 4))


@pytest.mark.parametrize("name", ["summed", "one"])
def test_a_module_whose_outputs_do_not_follow_the_batch_has_none(tmp_path: Path, name: str) -> None:
    assert look(tmp_path, name).inputs == (InputSpec("x", "float32", (1, 4)),)


def test_a_stated_batch_axis_is_believed(tmp_path: Path) -> None:
    assert look(tmp_path, "summed", X, batch_size=3).inputs == (X,)


def test_a_model_without_a_batch_axis_takes_one_example_at_a_time(tmp_path: Path) -> None:
    assert complaint(look, tmp_path, "summed", batch_size=2) == (
        "mine has no batch axis, so its batch size is 1; leave --batch-size out"
    )


def test_a_module_that_does_not_run_on_the_stated_inputs_is_refused_with_their_shapes(tmp_path: Path) -> None:
    message = complaint(look, tmp_path, "bare", InputSpec("x", "float32", ("batch", 7)), batch_size=2)
    assert message.startswith("mine raised RuntimeError on x float32[2, 7]: ")


def test_too_many_stated_inputs_are_refused_with_their_shapes(tmp_path: Path) -> None:
    message = complaint(look, tmp_path, "bare", X, InputSpec("y", "int64", (2,)))
    assert message.startswith("mine raised TypeError on x float32[1, 4], y int64[2]: ")


def test_a_model_with_data_of_its_own_runs_on_it(tmp_path: Path) -> None:
    found = look(tmp_path, "MODEL", batch_size=4)
    assert (found.inputs, found.outputs) == ((), ((4, 3),))


def test_an_onnx_file_tells_its_inputs_and_whether_its_weights_are_replaceable(tmp_path: Path) -> None:
    from tests.tiny_onnx import linear

    new = look_at_file(linear(tmp_path / "new.onnx"), batch_size=3)
    assert (new.inputs, new.outputs, new.replaceable_weights) == ((X,), ((3, 3),), False)
    assert look_at_file(linear(tmp_path / "old.onnx", listed=True, ir_version=3)).replaceable_weights


def test_an_onnx_file_of_a_fixed_size_takes_no_batch_size(tmp_path: Path) -> None:
    from tests.tiny_onnx import linear

    path = linear(tmp_path / "m.onnx", batch=2)
    assert look_at_file(path).inputs == (InputSpec("x", "float32", (2, 4)),)
    assert "has no batch axis" in complaint(look_at_file, path, batch_size=2)


def test_an_onnx_file_that_does_not_run_on_the_stated_inputs_is_refused(tmp_path: Path) -> None:
    from tests.tiny_onnx import linear

    message = complaint(look_at_file, linear(tmp_path / "m.onnx"), InputSpec("x", "float32", ("batch", 7)))
    assert message.startswith("mine raised InvalidArgument on x float32[1, 7]: ")


def test_a_scalar_input_and_outputs_without_axes_are_shown(tmp_path: Path) -> None:
    from tests.tiny_onnx import INT64, node, save, tensor

    nodes = [node("ReduceSum", "x", "y", keepdims=0), node("Identity", "sr", "rate")]
    inputs, outputs = [tensor("x", ["N", 4]), tensor("sr", [], INT64)], [tensor("y", []), tensor("rate", [], INT64)]
    found = look_at_file(save(tmp_path / "m.onnx", nodes, inputs, outputs))
    assert found.outputs == ((), ())
    assert [np.shape(s.shape) for s in found.inputs] == [(2,), (0,)]
