from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnknownNameError, UserError
from harness.schema import InputSpec, ModelSource, Trial
from harness.sources import model_of
from harness.zoo import Model, OnnxFile

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("own_imports")

NET = """
import torch
import numpy as np
from harness.zoo import Model, Split

calls = []

def net():
    calls.append("net")
    return torch.nn.Linear(4, 3)

def pair():
    return net(), torch.zeros(2, 4)

def several():
    class Both(torch.nn.Module):
        def forward(self, picture, ids):
            return picture.sum() + ids.sum()
    return Both(), (torch.zeros(2, 3, 5), torch.tensor([[4, 0], [2, 9]]))

def apart():
    class Both(torch.nn.Module):
        def forward(self, sound, rate):
            return sound * rate
    return Both(), (torch.zeros(1, 5), torch.tensor(16000))

def variadic():
    class Any(torch.nn.Module):
        def forward(self, *tensors):
            return tensors[0]
    return Any(), (torch.zeros(2, 3), torch.zeros(2, 3))

def seeded(seed):
    torch.manual_seed(seed)
    return net(), torch.zeros(1, 4)

def optional(width=3):
    return torch.nn.Linear(4, width)

def needy(width, depth):
    return net()

def fails():
    raise FileNotFoundError("weights.pt")

def three():
    return 3

def none():
    return None

number = 3
instance = torch.nn.Linear(4, 3)

def given(split):
    return Split((np.zeros((5, 4), np.float32),), np.arange(5))

MODEL = Model(name="own", task="t", summary="s", build=lambda seed: net(), data=given, metric="accuracy",
              source="here", license="mine")

def model():
    return MODEL

def labeled(split):
    return np.ones((6, 4), np.float32), np.arange(6)

def unlabeled(split):
    return np.ones((6, 4), np.float32)
"""
X = InputSpec("x", "float32", ("batch", 4))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def from_python(file: Path, name: str, *inputs: InputSpec, **more: Any) -> Model:
    source = ModelSource("python", f"{file}:{name}", inputs=inputs, **more)
    return model_of(Trial("t", "e", "mine", "torch", source=source))


def complaint(file: Path, name: str, *inputs: InputSpec, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        from_python(file, name, *inputs, **more).build(0)
    return str(caught.value)


def called(file: Path) -> list[str]:
    from harness.targets import import_place

    calls: list[str] = import_place(str(file)).calls
    return calls


def test_a_name_without_a_source_is_one_of_the_harness() -> None:
    assert model_of(Trial("t", "e", "_fake", "fake")).name == "_fake"
    with pytest.raises(UnknownNameError):
        model_of(Trial("t", "e", "no-such-model", "fake"))


def test_a_function_that_returns_a_module_is_called_only_when_the_module_is_wanted(file: Path) -> None:
    model = from_python(file, "net", X)
    assert called(file) == []
    module = model.build(0)
    assert isinstance(module, torch.nn.Linear)
    assert not module.training
    assert called(file) == ["net"]


def test_a_model_from_a_function_has_the_trials_name_and_generated_data(file: Path) -> None:
    model = from_python(file, "net", X, examples=9)
    assert (model.name, model.metric, model.form, model.input_names) == ("mine", "", "torch", ("x",))
    assert model.synthetic
    assert len(model.data("test")) == 9


def test_a_function_that_returns_a_module_alone_needs_its_inputs_stated(file: Path) -> None:
    message = complaint(file, "net")
    assert message.startswith(f"nobody knows what {file}:net takes: ")
    assert "--input 'x=batch,3,224,224'" in message
    assert "\n" not in message


def test_example_inputs_tell_the_shapes_and_the_names_of_forward(file: Path) -> None:
    assert from_python(file, "pair").inputs == (InputSpec("input", "float32", ("batch", 4)),)
    assert from_python(file, "several").inputs == (
        InputSpec("picture", "float32", ("batch", 3, 5)),
        InputSpec("ids", "int64", ("batch", 2), 0.0, 10.0),
    )


def test_examples_without_a_common_first_axis_have_no_batch(file: Path) -> None:
    assert from_python(file, "apart").inputs == (
        InputSpec("sound", "float32", (1, 5)),
        InputSpec("rate", "int64", (), 16000.0, 16001.0),
    )


def test_inputs_that_forward_does_not_name_are_counted(file: Path) -> None:
    assert from_python(file, "variadic").input_names == ("input_0", "input_1")


def test_the_pair_is_made_once(file: Path) -> None:
    model = from_python(file, "pair")
    model.build(0)
    assert called(file) == ["net"]


def test_stated_inputs_come_before_the_examples(file: Path) -> None:
    model = from_python(file, "pair", X)
    assert model.inputs == (X,)
    assert isinstance(model.build(0), torch.nn.Linear)


def test_a_module_itself_may_be_named(file: Path) -> None:
    from harness.targets import import_place

    assert from_python(file, "instance", X).build(0) is import_place(str(file)).instance


@pytest.mark.parametrize("name", ["MODEL", "model"])
def test_a_model_of_the_users_own_is_taken_with_its_data_and_metric(file: Path, name: str) -> None:
    model = from_python(file, name)
    assert (model.name, model.metric, len(model.data("test"))) == ("own", "accuracy", 5)
    assert not model.synthetic
    assert from_python(file, name, metric="top1-agreement").metric == "top1-agreement"


@pytest.mark.parametrize(("name", "verb"), [("MODEL", "is"), ("model", "gives")])
def test_a_model_has_data_of_its_own_so_inputs_are_refused(file: Path, name: str, verb: str) -> None:
    assert complaint(file, name, X) == f"{file}:{name} {verb} a Model, which has data of its own: leave out 'inputs'"


def test_a_function_may_take_the_seed(file: Path) -> None:
    model = from_python(file, "seeded", X)
    first, again, other = (model.build(seed).weight.detach().numpy() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_seed_reaches_a_function_that_had_to_be_called_for_its_inputs(file: Path) -> None:
    first, other = (from_python(file, "seeded").build(seed).weight.detach().numpy() for seed in (1, 2))
    assert not np.array_equal(first, other)


def test_parameters_with_defaults_are_left_alone(file: Path) -> None:
    assert from_python(file, "optional", X).build(0).out_features == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("needy", "needs arguments (width, depth); name a function that takes none, or 'seed'"),
        ("number", "is a int; it must be a function that returns a torch.nn.Module"),
        ("three", "gives a int; it must return a torch.nn.Module"),
        ("none", "gives a NoneType; it must return a torch.nn.Module"),
        ("fails", "raised FileNotFoundError: weights.pt"),
        ("nett", "has no 'nett'; did you mean 'net'?"),
    ],
)
@pytest.mark.parametrize("inputs", [(), (X,)], ids=["unstated", "stated"])
def test_what_is_no_model_is_refused_with_its_place(
    file: Path, name: str, message: str, inputs: tuple[InputSpec, ...]
) -> None:
    place = str(file) if name == "nett" else f"{file}:{name}"
    assert complaint(file, name, *inputs) == f"{place} {message}"


def test_a_data_function_with_targets_gives_labeled_data(file: Path) -> None:
    model = from_python(file, "net", X, data=f"{file}:labeled")
    split = model.data("test")
    assert not model.synthetic
    assert split.targets is not None
    assert split.targets.tolist() == list(range(6))


def test_a_data_function_without_targets_gives_unlabeled_data(file: Path) -> None:
    model = from_python(file, "net", X, data=f"{file}:unlabeled")
    assert not model.synthetic
    assert model.data("test").targets is None


def test_a_folder_of_arrays_gives_data(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.savez(folder / "test.npz", x=np.ones((4, 4), np.float32), targets=np.arange(4))
    assert len(from_python(file, "net", X, data=str(folder)).data("test")) == 3  # the fourth is for calibration


def test_a_module_that_is_not_installed_is_found_in_the_given_folder(tmp_path: Path) -> None:
    (tmp_path / "net_beside_suite.py").write_text(NET)
    source = ModelSource("python", "net_beside_suite:net", inputs=(X,), path=str(tmp_path))
    assert isinstance(model_of(Trial("t", "e", "m", "torch", source=source)).build(0), torch.nn.Linear)


def test_a_model_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "own_net.py"
    path.write_text(NET)
    trial = Trial("t", "e", "own-net", "torch", source=ModelSource("file", str(path)))
    assert model_of(trial).summary == "s"
    (tmp_path / "empty_net.py").write_text("")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'empty_net.py'} defines no MODEL = Model(...)")):
        model_of(Trial("t", "e", "m", "torch", source=ModelSource("file", str(tmp_path / "empty_net.py"))))


def test_an_onnx_file_is_its_own_module(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.tiny_onnx import linear

    path = linear(tmp_path / "m.onnx")
    source = ModelSource("onnx", str(path), examples=5)
    model = model_of(Trial("t", "e", "mine", "onnxruntime", source=source))
    assert (model.name, model.form, model.inputs) == ("mine", "onnx", (X,))
    assert model.build(0) == OnnxFile(path)
    assert model.synthetic
    assert len(model.data("test")) == 5
