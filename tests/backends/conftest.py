from __future__ import annotations

import subprocess
import sys

import pytest

from harness.backends.base import LowerRequest
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
def lowered(digits, network, tmp_path_factory):
    """Lower the trained network for a backend, once for each (name, threads); batch size 8."""
    made = {}

    def lower(backend, threads=1):
        key = backend.name, threads
        if key not in made:
            directory = tmp_path_factory.mktemp(backend.name)
            backend.lower(network, request_of(digits, directory, threads=threads))
            made[key] = directory
        return made[key]

    return lower


@pytest.fixture
def request_for(digits, tmp_path):
    """Make a request to lower into an empty folder."""

    def make(batch_size=8, **changes):
        return request_of(digits, tmp_path, batch_size, **changes)

    return make


def request_of(digits, directory, batch_size=8, *, options=None, threads=1, **changes):
    batch = digits.data("test").batch(batch_size)
    names = digits.input_names, digits.output_names
    return LowerRequest(batch, *names, directory, options or {}, threads, **changes)


@pytest.fixture
def fresh_python():
    """Run code in a fresh interpreter and return what it printed."""

    def run(code):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
