from __future__ import annotations

import pytest

from harness.backends import BACKENDS
from harness.backends.base import Available, SessionOptions, Unavailable
from harness.errors import UnsupportedError

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("inductor")
needs_compiler = pytest.mark.skipif(
    not isinstance(BACKEND.probe("build"), Available), reason="no C++ compiler to build with"
)


def test_without_a_compiler_it_can_measure_but_not_build(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert BACKEND.probe("build") == Unavailable("no C++ compiler 'g++': apt-get install g++")
    assert isinstance(BACKEND.probe("measure"), Available)


def test_the_environment_keeps_the_compiler_to_one_process():
    environment = BACKEND.environment(2, {})
    assert environment == {"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


@needs_compiler
def test_the_package_runs_in_a_fresh_process_without_a_compiler(lowered, fresh_python):
    code = f"""
import os
os.environ["PATH"] = "/nowhere"
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("inductor").load(Path({str(lowered(BACKEND))!r}), SessionOptions(1, {{}}))
outputs = session((np.zeros((8, 1, 8, 8), np.float32),))
print(outputs[0].shape, *(session.executed()[name] for name in ("threads", "compiled_threads")))
"""
    assert fresh_python(code) == "(8, 10) 1 1\n"


@needs_compiler
def test_a_package_for_another_number_of_threads_is_refused(lowered):
    threads = torch.get_num_threads()
    with pytest.raises(UnsupportedError, match="compiled for 1 threads, not 2"):
        BACKEND.load(lowered(BACKEND), SessionOptions(2, {}))
    torch.set_num_threads(threads)


@needs_compiler
def test_the_artifact_is_one_file(lowered):
    assert [path.name for path in lowered(BACKEND).iterdir()] == ["model.pt2"]


class Branching(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_exported_is_unsupported_with_the_reason(request_for):
    request = request_for()
    with pytest.raises(UnsupportedError, match=r"torch\.export cannot follow this module: \w+"):
        BACKEND.lower(Branching(), request)
    assert not list(request.directory.iterdir())
