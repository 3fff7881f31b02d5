"""The shortest model, pass and backend of CONTRIBUTING.md do what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import Backend, LowerRequest, SessionOptions
from harness.build import Builder
from harness.cache import Cache
from harness.measure.quality import METRICS
from harness.passes import PASSES
from harness.registry import Registry
from harness.schema import ModelSource, PassSpec, Trial
from harness.zoo import Model, import_file, load_model_file
from tests.docs.blocks import read_page

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contributing")
    read_page("CONTRIBUTING.md").write(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model_file(folder / "models" / "sum_sign.py")


@pytest.fixture
def added(folder: Path) -> Iterator[Backend]:
    """Register the page's pass and backend for one test."""
    import_file(folder / "round_weights.py")
    backend: Backend = import_file(folder / "numpy_backend.py").NumpyBackend()
    BACKENDS.add(backend.name, backend)
    yield backend
    _forget(BACKENDS, backend.name)
    _forget(PASSES, "round.weights")
    for name in [name for name in sys.modules if "round_weights" in name or "numpy_backend" in name]:
        del sys.modules[name]  # so that the next test registers them again


def _forget(registry: Registry[Any], name: str) -> None:
    del registry._items[name]


def test_the_model_is_right_on_every_example(model: Model) -> None:
    split = model.data("test")
    module = model.build(0)
    with torch.inference_mode():
        scores = module(torch.from_numpy(split.inputs[0])).numpy()
    assert METRICS.get(model.metric).score((scores,), split.targets).mean() == 1.0


def test_the_pass_and_the_backend_build_together(
    added: Backend, folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "round.weights" in PASSES
    source = ModelSource("file", str(folder / "models" / "sum_sign.py"))
    trial = Trial("t", "e", "sum-sign", "numpy", passes=(PassSpec("round.weights", {"decimals": 1}),), source=source)
    with pytest.raises(Exception, match=r"round\.weights changed nothing"):  # the weights are whole numbers
        Builder(trial, 0, Cache(tmp_path), lambda _: None).build()
    built = Builder(replace(trial, passes=()), 0, Cache(tmp_path), lambda _: None).build()
    session = added.load(built.directory, SessionOptions(1, {}))
    inputs = model.data("test").batch(4)
    with torch.inference_mode():
        expected = model.build(0)(torch.from_numpy(inputs[0])).numpy()
    np.testing.assert_allclose(session(inputs)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_backend_refuses_what_it_cannot_run(added: Backend, tmp_path: Path) -> None:
    request = LowerRequest((np.zeros((1, 8), np.float32),), ("input",), ("output",), tmp_path, {})
    with pytest.raises(Exception, match="a single Linear layer, not a ReLU"):
        added.lower(torch.nn.ReLU(), request)
