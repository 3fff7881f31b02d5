"""What a suite says about a model of the user's own, and the card that planning gets; no code of it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.catalog import catalog
from harness.errors import SuiteError, UnknownNameError, UserError
from harness.plan import ModelCard, plan
from harness.schema import InputSpec, ModelSource
from harness.suite import ModelEntry, read_suite
from harness.zoo import model_files

pytestmark = pytest.mark.usefixtures("own_imports")

MODEL_FILE = """
from harness.zoo import Model
MODEL = Model(name="own", task="t", summary="s", build=None, data=None, metric="accuracy", source="", license="",
              quality_margin=0.25, packages=("surely-not-installed",))
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a suite's file, with a file that must not be imported."""
    (tmp_path / "my net.py").write_text("raise SystemError('planning ran the code of the user')\n")
    (tmp_path / "graph.v1.onnx").write_text("planning does not open it")
    (tmp_path / "arrays").mkdir()
    return tmp_path


def card(base: Path, models: Path | None = None, **entry: Any) -> ModelCard:
    return catalog(models).model(ModelEntry(**entry), base)


def source(base: Path, **entry: Any) -> ModelSource:
    found = card(base, **entry).source
    assert found is not None
    return found


def complaint(base: Path, **entry: Any) -> str:
    with pytest.raises(UserError) as caught:
        card(base, **entry)
    return str(caught.value)


def test_a_model_of_the_harness_has_no_source(base: Path) -> None:
    found = card(base, zoo="_fake")
    assert (found.name, found.form, found.source) == ("_fake", "torch", None)


def test_paths_are_relative_to_the_suites_file(base: Path) -> None:
    assert source(base, onnx="graph.v1.onnx").target == str(base / "graph.v1.onnx")
    assert source(base / "arrays", python="../my net.py:make").target == f"{base / 'my net.py'}:make"
    assert source(base, onnx="graph.v1.onnx", data="arrays").data == str(base / "arrays")
    assert source(base, onnx="graph.v1.onnx", data="my net.py:data").data == f"{base / 'my net.py'}:data"


def test_an_absolute_path_and_a_module_stay(base: Path) -> None:
    assert source(base / "arrays", onnx=str(base / "graph.v1.onnx")).target == str(base / "graph.v1.onnx")
    found = source(base, python="package.module:make", data="package.data:load")
    assert (found.target, found.data, found.path) == ("package.module:make", "package.data:load", str(base))


def test_what_a_suite_states_is_carried_to_the_workers(base: Path) -> None:
    inputs = {
        "ids": {"shape": ["batch", 8], "dtype": "int64", "low": 0, "high": 99},
        "mask": {"shape": ["batch", 8]},
    }
    found = source(base, python="my net.py:make", inputs=inputs, metric="cosine-agreement", examples=64)
    assert found == ModelSource(
        "python",
        f"{base / 'my net.py'}:make",
        (InputSpec("ids", "int64", ("batch", 8), 0, 99), InputSpec("mask", "float32", ("batch", 8))),
        metric="cosine-agreement",
        examples=64,
        path=str(base),
    )


@pytest.mark.parametrize(
    ("entry", "name", "form"),
    [
        ({"python": "my net.py:make"}, "my-net.make", "torch"),
        ({"python": "package.module:make"}, "module.make", "torch"),
        ({"onnx": "graph.v1.onnx"}, "graph.v1", "onnx"),
        ({"onnx": "graph.v1.onnx", "name": "mine"}, "mine", "onnx"),
        ({"python": "my net.py:make", "name": "mine"}, "mine", "torch"),
    ],
)
def test_a_name_is_made_from_the_target_unless_it_is_given(
    base: Path, entry: dict[str, str], name: str, form: str
) -> None:
    found = card(base, **entry)
    assert (found.name, found.form) == (name, form)
    assert found.quality_margin == 0.01


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"onnx": "none.onnx"}, "{base}/none.onnx does not exist"),
        ({"onnx": "arrays"}, "{base}/arrays is a folder"),
        ({"python": "none.py:make"}, "{base}/none.py does not exist"),
        ({"python": "my net.py"}, "'my net.py' is neither file.py:name nor package.module:name"),
        (
            {"onnx": "graph.v1.onnx", "data": "none"},
            "data: {base}/none is no folder; name one, file.py:function, or leave it out for synthetic data",
        ),
        (
            {"onnx": "graph.v1.onnx", "data": "graph.v1.onnx"},
            "data: {base}/graph.v1.onnx is no folder; name one, file.py:function, or leave it out for synthetic data",
        ),
        ({"onnx": "graph.v1.onnx", "data": "none.py:load"}, "{base}/none.py does not exist"),
        ({"onnx": "graph.v1.onnx", "metric": "acuracy"}, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ({"zoo": "_fak"}, "unknown model '_fak'; known: " + ", ".join(n for n in model_files() if n[0] != "_")),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(base: Path, entry: dict[str, str], message: str) -> None:
    assert complaint(base, **entry) == message.format(base=base)


def test_a_refusal_stands_at_its_line_of_the_suite(base: Path) -> None:
    path = base / "suite.yaml"
    path.write_text("suite: s\nexperiments:\n  - name: e\n    model:\n      onnx: none.onnx\n")
    with pytest.raises(SuiteError) as caught:
        plan(read_suite(path), catalog())
    assert str(caught.value) == f"{path}:4: {base / 'none.onnx'} does not exist"


def test_a_planned_suite_has_the_unoptimized_model_as_its_baseline(base: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = base / "suite.yaml"
    path.write_text("suite: s\nexperiments:\n  - name: e\n    model: {onnx: graph.v1.onnx}\n")
    [experiment] = plan(read_suite(path), catalog())
    assert (experiment.model, experiment.baseline.backend) == ("graph.v1", "onnxruntime")
    assert experiment.baseline.unsupported is None


def test_models_of_a_folder_are_known_beside_the_harness_own(tmp_path: Path) -> None:
    path = tmp_path / "own_net.py"
    path.write_text(MODEL_FILE)
    found = card(tmp_path, models=tmp_path, zoo="own-net")
    assert found.source == ModelSource("file", str(path))
    assert (found.name, found.quality_margin) == ("own-net", 0.25)
    assert found.unavailable() == "surely-not-installed not installed: pip install surely-not-installed"
    assert card(tmp_path, models=tmp_path, zoo="_fake").source is None


def test_a_models_folder_given_by_a_relative_path_is_carried_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(MODEL_FILE)
    monkeypatch.chdir(tmp_path)
    found = card(Path("/elsewhere"), models=Path(), zoo="own-net")
    assert found.source == ModelSource("file", str(tmp_path / "own_net.py"))


def test_a_model_of_a_folder_is_unknown_without_the_folder(tmp_path: Path) -> None:
    (tmp_path / "own_net.py").write_text(MODEL_FILE)
    with pytest.raises(UnknownNameError, match="unknown model 'own-net'"):
        card(tmp_path, zoo="own-net")
