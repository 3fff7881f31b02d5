from __future__ import annotations

import functools
import shutil

import pytest

from harness.backends import BACKENDS
from harness.backends.base import LowerRequest
from harness.passes import BuildContext
from harness.zoo import load_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Keep torch to one thread: two that wait for each other crawl on a busy host."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits():
    pytest.importorskip("sklearn")
    return load_model("digits-cnn")


@pytest.fixture(scope="session")
def network(digits):
    return digits.build(0)


@pytest.fixture(scope="session")
def context(digits):
    return BuildContext(digits, 32, 0, functools.cache(digits.data))


@pytest.fixture(scope="session")
def exported(digits, network, tmp_path_factory):
    """The trained network as an ONNX artifact; exported once."""
    pytest.importorskip("onnxruntime")
    directory = tmp_path_factory.mktemp("exported")
    request = LowerRequest(digits.data("test").batch(32), digits.input_names, digits.output_names, directory, {})
    BACKENDS.get("onnxruntime").lower(network, request)
    return directory


@pytest.fixture
def artifact(exported, tmp_path):
    """A copy of the artifact that a test may rewrite."""
    return shutil.copytree(exported, tmp_path / "artifact")


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    """Return a tiny network by name, exported for the ONNX backends; made once."""
    pytest.importorskip("onnxruntime")
    made = {}

    def get(name):
        if name not in made:
            from tests.passes.tiny_networks import make

            made[name] = make(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def copy_of(tmp_path):
    """Return a copy of a case's artifact for a backend, that a test may rewrite."""

    def copy(case, backend):
        return shutil.copytree(case.artifacts[backend], tmp_path / backend)

    return copy
