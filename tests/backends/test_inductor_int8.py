from __future__ import annotations

import functools

import numpy as np
import pytest

from harness.backends import BACKENDS
from harness.backends.base import Available, LowerRequest
from harness.backends.compiled import read_compiled
from harness.errors import InvalidOutputError
from harness.passes import PASSES, BuildContext

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
BACKEND = BACKENDS.get("inductor")
pytestmark = pytest.mark.skipif(
    not isinstance(BACKEND.probe("build"), Available), reason="no C++ compiler to build with"
)


def _lower(network, digits, directory, options):
    context = BuildContext(digits, 8, 0, functools.cache(digits.data))
    batch = digits.data("test").batch(8)
    item = PASSES.get("quantize.static-int8")(examples=64)
    noted = []
    request = LowerRequest(
        batch,
        digits.input_names,
        digits.output_names,
        directory,
        options,
        transform=lambda program: item.apply_exported(program, context)[0],
        transforms=True,
        note=noted.append,
    )
    BACKEND.lower(network, request)
    with torch.inference_mode():
        np.savez(directory / "expected.npz", x=batch[0], y=network(torch.from_numpy(batch[0])).numpy())
    return noted


@pytest.fixture(scope="module")
def static(network, digits, tmp_path_factory):
    directory = tmp_path_factory.mktemp("static")
    return directory, _lower(network, digits, directory, {})


def test_every_layer_ends_in_an_int8_kernel_and_the_compile_time_stands_apart(static):
    directory, noted = static
    compiled = read_compiled(directory)
    assert compiled.freezing
    assert compiled.layers == compiled.integer_layers == sum(compiled.integer_kernels.values()) == 4
    assert compiled.constants["int8"] > compiled.constants["float32"]
    assert [(step.name, step.detail, step.seconds > 0) for step in noted] == [("compile", "ahead of time", True)]


def test_it_runs_in_int8_in_a_fresh_process_without_compiler_and_torchao(static, fresh_python):
    code = f"""
import os, sys
os.environ["PATH"] = "/nowhere"
import numpy as np
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("inductor").load(Path({str(static[0])!r}), SessionOptions(1, {{}}))
stored = np.load({str(static[0] / "expected.npz")!r})
(outputs,) = session((stored["x"],))
assert np.linalg.norm(outputs - stored["y"]) < 0.1 * np.linalg.norm(stored["y"])
executed = session.executed()
print(executed["precision"], executed["freezing"], sum(executed["integer_kernels"].values()), "torchao" in sys.modules)
"""
    assert fresh_python(code) == "int8 True 4 False\n"


def test_with_freezing_off_the_trap_is_caught(network, digits, tmp_path):
    """The compiler says nothing then, and computes the very same outputs in float32."""
    with pytest.raises(InvalidOutputError, match=r"4 layers of the program are INT8, and .* no INT8 kernel"):
        _lower(network, digits, tmp_path, {"freezing": False})
