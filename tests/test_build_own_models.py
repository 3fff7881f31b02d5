"""Builds of models of the user's own: what they stand for in the cache, and how they are judged."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifacts import REFERENCE
from harness.build import Builder, Built
from harness.cache import Cache
from harness.dataset import DataCard, read_card, read_test_data
from harness.errors import UnsupportedError, UserError
from harness.schema import InputSpec, ModelSource, PassSpec, Trial
from harness.targets import import_place
from tests.conftest import forget_modules_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("own_imports")

NET = """
import numpy as np
import torch
from layers_beside import Scaled

calls = []

def net():
    calls.append("net")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), Scaled())

class Probabilities(torch.nn.Module):
    def forward(self, x):
        return x.softmax(1)

NAME = "nested"

class Nested(torch.nn.Module):
    def forward(self, x):
        return {"mean": x.mean(1), "all": [x * 2, (x > 0, None)], "name": NAME}

class Ragged(torch.nn.Module):
    def forward(self, x):
        return x[x > 0.7]

class Total(torch.nn.Module):
    def forward(self, x):
        return x.sum()

def probabilities(): return Probabilities()
def nested(): return Nested()
def ragged(): return Ragged()
def total(): return Total()

def local():
    class Local(torch.nn.Linear):
        pass
    return Local(4, 3)

def hooked():
    net = torch.nn.Linear(4, 3)
    net.register_forward_hook(lambda module, inputs, outputs: outputs)
    return net

def labeled(split):
    calls.append("data")
    return np.eye(4, dtype=np.float32), np.array([0, 1, 2, 1])

def unlabeled(split):
    return np.eye(4, dtype=np.float32)
"""
LAYERS = """
import torch

class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""
X = InputSpec("x", "float32", ("batch", 4))
WHOLE = InputSpec("x", "float32", (1, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: a model file with a helper beside it."""
    path = tmp_path / "user"
    path.mkdir()
    (path / "net.py").write_text(NET)
    (path / "layers_beside.py").write_text(LAYERS)
    return path


def trial(folder: Path, name: str = "net", *inputs: InputSpec, backend: str = "torch", **source: Any) -> Trial:
    if "data" in source and ":" not in source["data"] and not Path(source["data"]).is_absolute():
        source["data"] = f"{folder / 'net.py'}:{source['data']}"
    source = {"examples": 6, **source}
    own = ModelSource("python", f"{folder / 'net.py'}:{name}", inputs=inputs or (X,), **source)
    return Trial("t", "e", "mine", backend, source=own, batch_size=1 if WHOLE in inputs else 2)


def builder(trial: Trial, cache: Path, seed: int = 0) -> Builder:
    return Builder(trial, seed, Cache(cache), lambda step: None)


def fingerprint(folder: Path, name: str = "net", **source: Any) -> str:
    """Return the fingerprint that a new process finds."""
    forget_modules_of(folder.parent)
    return builder(trial(folder, name, **source), folder.parent / "cache").fingerprint


def built(trial: Trial, cache: Path, seed: int = 0) -> Built:
    return builder(trial, cache, seed).build()


def calls(folder: Path) -> list[str]:
    found: list[str] = import_place(str(folder / "net.py")).calls
    return found


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# -- what a model stands for -------------------------------------------------------------------------------------


def test_the_same_model_has_the_same_fingerprint(folder: Path) -> None:
    assert fingerprint(folder) == fingerprint(folder)


def test_the_fingerprint_says_nothing_of_where_the_model_lies(folder: Path) -> None:
    first = fingerprint(folder)
    other = folder.rename(folder.parent / "elsewhere")
    assert fingerprint(other) == first


def test_other_weights_are_another_model(folder: Path) -> None:
    weights = folder.parent / "weights.pt"
    state = torch.nn.Linear(4, 3).state_dict()
    torch.save(state, weights)
    load = f"net = torch.nn.Linear(4, 3)\n    net.load_state_dict(torch.load({str(weights)!r}))\n    return net"
    edit(folder / "net.py", "return torch.nn.Sequential(torch.nn.Linear(4, 3), Scaled())", load)
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    torch.save({**state, "bias": state["bias"] + 1}, weights)
    assert fingerprint(folder) != first


def test_an_edited_helper_of_its_class_is_another_model(folder: Path) -> None:
    first = fingerprint(folder)
    edit(folder / "layers_beside.py", "x * 2", "x * 3 ")
    assert fingerprint(folder) != first


def test_a_class_in_another_folder_is_noticed_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = folder.parent / "library"
    elsewhere.mkdir()
    shutil.move(folder / "layers_beside.py", elsewhere / "layers_beside.py")
    monkeypatch.syspath_prepend(str(elsewhere))
    first = fingerprint(folder)
    edit(elsewhere / "layers_beside.py", "x * 2", "x * 3 ")
    forget_modules_of(elsewhere)
    assert fingerprint(folder) != first


def test_other_data_are_another_model(folder: Path) -> None:
    assert len({fingerprint(folder), fingerprint(folder, data="labeled"), fingerprint(folder, data="unlabeled")}) == 3
    arrays = folder.parent / "arrays"
    arrays.mkdir()
    np.savez(arrays / "test.npz", x=np.ones((4, 4), np.float32))
    first = fingerprint(folder, data=str(arrays))
    np.savez(arrays / "test.npz", x=np.zeros((4, 4), np.float32))
    assert fingerprint(folder, data=str(arrays)) != first


def test_what_the_suite_states_is_part_of_the_fingerprint(folder: Path) -> None:
    first = fingerprint(folder)
    assert fingerprint(folder, examples=7) != first
    assert fingerprint(folder, metric="cosine-agreement") != first


def test_a_given_fingerprint_is_used_and_the_users_function_is_not_called(folder: Path) -> None:
    given = trial(folder, data="labeled", fingerprint="given")
    assert builder(given, folder.parent / "cache").fingerprint == "given"
    assert calls(folder) == []


def test_a_build_for_a_second_backend_takes_the_module_and_the_data_from_the_cache(folder: Path) -> None:
    pytest.importorskip("onnxscript")
    cache = folder.parent / "cache"
    first = builder(trial(folder), cache)
    first.build()
    assert calls(folder) == ["net"]
    second = trial(folder, backend="onnxruntime", fingerprint=first.fingerprint)
    assert built(second, cache).test_data.is_file()
    assert calls(folder) == ["net"]


def test_the_module_is_made_once_although_its_weights_are_hashed_first(folder: Path) -> None:
    built(trial(folder), folder.parent / "cache")
    assert calls(folder) == ["net"]


def test_an_edited_model_is_not_taken_from_the_cache(folder: Path) -> None:
    cache = folder.parent / "cache"
    first = built(trial(folder), cache)
    assert built(trial(folder), cache).artifact.cached
    edit(folder / "layers_beside.py", "x * 2", "x * 5 ")
    forget_modules_of(folder)
    second = built(trial(folder), cache)
    assert not second.artifact.cached
    assert second.artifact.key != first.artifact.key
    outputs = [np.load(b.directory / REFERENCE)["output_0"] for b in (first, second)]
    assert np.allclose(outputs[0] * 2.5, outputs[1])


def test_a_model_that_moved_is_imported_from_its_new_place(folder: Path) -> None:
    cache = folder.parent / "cache"
    built(trial(folder), cache)
    other = folder.rename(folder.parent / "elsewhere")
    forget_modules_of(folder)
    assert built(trial(other), cache).artifact.code == str(other / "net.py")


def test_a_model_file_that_was_renamed_loads_from_its_new_name(folder: Path) -> None:
    cache = folder.parent / "cache"
    source = replace(trial(folder, "nested").source, target=f"{folder / 'first.py'}:nested")  # type: ignore[type-var]
    (folder / "net.py").rename(folder / "first.py")
    own = replace(trial(folder), source=source)
    built(own, cache)
    (folder / "first.py").rename(folder / "second.py")
    forget_modules_of(folder)
    moved = replace(own, source=replace(source, target=f"{folder / 'second.py'}:nested"))  # type: ignore[type-var]
    assert built(moved, cache).artifact.code == str(folder / "second.py")


def test_an_onnx_file_stands_for_its_bytes_and_the_bytes_of_its_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.tiny_onnx import linear, onnx

    def found(path: Path) -> str:
        own = ModelSource("onnx", str(path), examples=6)
        return builder(Trial("t", "e", "mine", "onnxruntime", source=own), tmp_path / "cache").fingerprint

    path = linear(tmp_path / "m.onnx")
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.data", size_threshold=0)
    first = found(path)
    weights = bytearray((tmp_path / "w.data").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w.data").write_bytes(weights)
    assert found(path) != first


# -- how it is judged --------------------------------------------------------------------------------------------


def card_of(folder: Path, name: str, *inputs: InputSpec, **source: Any) -> DataCard:
    return read_card(built(trial(folder, name, *inputs, **source), folder.parent / "cache").test_data)


def test_targets_are_judged_by_accuracy(folder: Path) -> None:
    assert card_of(folder, "net", data="labeled") == DataCard("accuracy", "test")


def test_synthetic_data_are_judged_by_agreement_that_fits_the_outputs(folder: Path) -> None:
    assert card_of(folder, "net") == DataCard("cosine-agreement", "synthetic")
    assert card_of(folder, "probabilities") == DataCard("top1-agreement", "synthetic")


def test_data_without_targets_are_unlabeled(folder: Path) -> None:
    assert card_of(folder, "net", data="unlabeled") == DataCard("cosine-agreement", "unlabeled")


def test_a_stated_metric_comes_first_and_labeled_data_stay_test_data(folder: Path) -> None:
    assert card_of(folder, "net", data="labeled", metric="top1-agreement") == DataCard("top1-agreement", "test")
    assert card_of(folder, "net", metric="top1-agreement") == DataCard("top1-agreement", "synthetic")


def test_a_metric_that_needs_targets_is_refused_without_them(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        card_of(folder, "net", metric="accuracy")
    assert str(caught.value) == "accuracy needs targets, and the data of mine has none; leave 'metric' out"


def test_the_unoptimized_models_outputs_on_every_example_are_what_is_right(folder: Path) -> None:
    data = read_test_data(built(trial(folder, examples=5), folder.parent / "cache").test_data)  # 2 + 2 + 1
    [x] = data.split.inputs
    module = import_place(str(folder / "net.py")).net()
    assert data.expected is not None
    assert data.expected[0].shape == (5, 3)
    assert np.allclose(data.expected[0], module(torch.from_numpy(x)).detach().numpy(), atol=1e-6)


def test_expected_outputs_are_those_of_the_same_seed(folder: Path) -> None:
    path = folder / "own_model.py"
    path.write_text(
        """
import numpy as np
import torch
from harness.zoo import Model, Split

def build(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3)

MODEL = Model(name="own-model", task="t", summary="s", build=build, metric="", source="", license="",
              data=lambda split: Split((np.eye(4, dtype=np.float32),)))
"""
    )
    own = Trial("t", "e", "own-model", "torch", source=ModelSource("file", str(path)), batch_size=2)
    first, other = (read_test_data(built(own, folder.parent / "cache", seed).test_data) for seed in (0, 1))
    assert first.expected is not None
    assert other.expected is not None
    assert not np.allclose(first.expected[0], other.expected[0])


def test_nested_outputs_are_expected_flat_and_what_is_no_tensor_is_left_out(folder: Path) -> None:
    found = built(trial(folder, "nested"), folder.parent / "cache")
    data = read_test_data(found.test_data)
    assert data.expected is not None
    assert [(o.shape, str(o.dtype)) for o in data.expected] == [
        ((6,), "float32"),
        ((6, 4), "float32"),
        ((6, 4), "bool"),
    ]
    assert read_card(found.test_data).metric == "cosine-agreement"


def test_nested_outputs_come_from_the_lowered_model_in_the_same_order(folder: Path) -> None:
    pytest.importorskip("onnxscript")
    from harness.backends import BACKENDS
    from harness.backends.base import SessionOptions

    edit(folder / "net.py", 'NAME = "nested"', "NAME = None")  # the exporter takes no text
    found = built(trial(folder, "nested", backend="onnxruntime"), folder.parent / "cache")
    with np.load(found.directory / REFERENCE) as stored:
        expected = [stored[f"output_{i}"][0] for i in range(3)]
        outputs = BACKENDS.get("onnxruntime").load(found.directory, SessionOptions(1, {}))((stored["input_0"][0],))
    assert len(outputs) == 3
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(outputs, expected, strict=True))


@pytest.mark.parametrize(
    ("name", "inputs", "reason"),
    [
        ("total", (X,), "the outputs have no axis that counts the examples"),
        ("ragged", (X,), "the outputs have no axis that counts the examples"),
        ("ragged", (WHOLE,), "the outputs differ in shape from call to call"),
    ],
)
def test_outputs_that_cannot_be_compared_leave_quality_out_with_the_reason(
    folder: Path, name: str, inputs: tuple[InputSpec, ...], reason: str
) -> None:
    found = built(trial(folder, name, *inputs), folder.parent / "cache")
    assert read_card(found.test_data) == DataCard(None, "synthetic", reason)
    assert read_test_data(found.test_data).expected is None


def test_whether_outputs_count_the_examples_is_asked_for_each_batch_size(folder: Path) -> None:
    edit(folder / "net.py", "return x.sum()", "return x.sum(0, keepdim=True)")
    cache = folder.parent / "cache"
    own = trial(folder, "total")
    cards = [read_card(built(replace(own, batch_size=size), cache).test_data) for size in (1, 2)]
    assert [card.metric for card in cards] == ["cosine-agreement", None]


def test_a_stacked_models_outputs_are_stacked(folder: Path) -> None:
    found = built(trial(folder, "net", WHOLE), folder.parent / "cache")
    data = read_test_data(found.test_data)
    assert data.split.stacked
    assert data.expected is not None
    assert data.expected[0].shape == (6, 1, 3)


@pytest.mark.parametrize("name", ["local", "hooked"])
def test_a_module_that_cannot_be_pickled_says_so_and_what_to_do(folder: Path, name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        built(trial(folder, name), folder.parent / "cache")
    message = str(caught.value)
    assert message.startswith("the module cannot be pickled (")
    assert message.endswith("define its classes and functions at the top level of their file")


def test_calibration_data_of_the_users_reach_a_pass(folder: Path) -> None:
    pytest.importorskip("onnxscript")
    quantized = replace(trial(folder, backend="onnxruntime"), passes=(PassSpec("quantize.static-int8"),))
    step = built(quantized, folder.parent / "cache").artifact.steps[-1]
    assert step.detail.startswith("1 of 1 ")
    assert step.detail.endswith("over 6 examples")
