from __future__ import annotations

import subprocess
import sys

import pytest

from harness.backends import BACKENDS
from harness.backends.base import Available, SessionOptions
from harness.backends.compiled import read_compiled
from harness.cache import hash_files
from harness.errors import InvalidOutputError, UnsupportedError
from tests.conftest import forget_modules_of

torch = pytest.importorskip("torch")
BACKEND = BACKENDS.get("inductor")
pytestmark = pytest.mark.skipif(
    not isinstance(BACKEND.probe("build"), Available), reason="no C++ compiler to build with"
)
CODE = """
import torch

class Branching(torch.nn.Module):
    def forward(self, x):
        x = torch.sin(x)
        if x.sum() > 0:
            return x + 1
        return x - 1
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A module whose way depends on its data, compiled just in time, its code's folder, and the step that was noted.

    In a process of its own, as the harness does: what was compiled before changes the keys of the cache.
    """
    folder = tmp_path_factory.mktemp("jit")
    (folder / "branching.py").write_text(CODE)
    (folder / "artifact").mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import numpy as np
from pathlib import Path
from branching import Branching
from harness.backends import BACKENDS
from harness.backends.base import LowerRequest
inputs = np.linspace(-1, 2, 8, dtype=np.float32).reshape(2, 4)
noted = []
request = LowerRequest((inputs,), ("x",), ("y",), Path({str(folder / "artifact")!r}), {{}}, note=noted.append)
BACKENDS.get("inductor").lower(Branching(), request)
print(*((step.name, step.detail) for step in noted))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    sys.path.insert(0, str(folder))
    yield folder / "artifact", folder, done.stdout.strip()
    sys.path.remove(str(folder))
    forget_modules_of(folder)


def test_the_artifact_holds_module_settings_and_cache(built):
    directory, _, noted = built
    assert {path.name for path in directory.iterdir()} == {"module.pt", "inductor.json", "cache"}
    compiled = read_compiled(directory)
    assert (compiled.mode, compiled.graph_breaks) == ("just-in-time", 1)
    assert noted == "('compile', 'just in time; 1 graph breaks')"
    assert BACKEND.needs_code(directory)


def test_a_fresh_process_finds_its_code_compiled_and_leaves_the_artifact_alone(built, fresh_python):
    directory, folder, _ = built
    before = hash_files([path for path in directory.rglob("*") if path.is_file()])
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
import numpy as np
from pathlib import Path
from torch._dynamo.utils import counters
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("inductor").load(Path({str(directory)!r}), SessionOptions(1, {{}}))
inputs = np.linspace(-1, 2, 8, dtype=np.float32).reshape(2, 4)
for _ in range(2):
    np.testing.assert_allclose(session((inputs,))[0], np.sin(inputs) + 1, rtol=1e-5)
executed, compilations = session.executed(), session.compilations()
print(executed["mode"], executed["graph_breaks"], executed["recompiles"], compilations)
print(counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"] > 0)
np.testing.assert_allclose(session((-inputs - 2,))[0], np.sin(-inputs - 2) - 1, rtol=1e-5)
print(session.compilations() > compilations)
session.close()
"""
    assert fresh_python(code) == "just-in-time 1 0 2\n0 True\nTrue\n"
    assert hash_files([path for path in directory.rglob("*") if path.is_file()]) == before


def test_settings_that_changed_since_the_build_are_no_result(built):
    from torch._inductor import config

    directory, _, _ = built
    with config.patch(freezing=False):
        session = BACKEND.load(directory, SessionOptions(1, {}))
        assert session.executed()["freezing"] is False
        config.freezing = True
        with pytest.raises(InvalidOutputError, match=r"built with freezing=False .* freezing=True"):
            session.executed()
    session.close()


def test_without_a_compiler_it_is_unsupported_with_the_remedy(built, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UnsupportedError, match=r"just in time, and no C\+\+ compiler .*apt-get install"):
        BACKEND.load(built[0], SessionOptions(1, {}))
