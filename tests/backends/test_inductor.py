from __future__ import annotations

import pytest

from harness.backends import BACKENDS
from harness.backends.base import Available, SessionOptions, Unavailable
from harness.backends.compiled import Compiled, read_compiled
from harness.backends.inductor_aot import _require_integers
from harness.errors import InvalidOutputError, UnsupportedError
from harness.passes import PASSES

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
def test_the_package_runs_in_a_fresh_process_that_starts_no_compiler(lowered, fresh_python):
    code = f"""
import os, subprocess
import numpy as np
import torch._inductor.package
os.environ["PATH"] = "/nowhere"
subprocess.Popen = None
from pathlib import Path
from harness.backends import BACKENDS
from harness.backends.base import SessionOptions
session = BACKENDS.get("inductor").load(Path({str(lowered(BACKEND))!r}), SessionOptions(1, {{}}))
outputs = session((np.zeros((8, 1, 8, 8), np.float32),))
print(outputs[0].shape, *(session.executed()[name] for name in ("threads", "compiled_threads", "mode", "precision")))
"""
    assert fresh_python(code) == "(8, 10) 1 1 ahead-of-time float32\n"


@needs_compiler
def test_a_package_for_another_number_of_threads_is_refused(lowered):
    threads = torch.get_num_threads()
    with pytest.raises(UnsupportedError, match="compiled for 1 threads, not 2"):
        BACKEND.load(lowered(BACKEND), SessionOptions(2, {}))
    torch.set_num_threads(threads)


@needs_compiler
def test_the_artifact_is_the_package_and_how_it_was_compiled(lowered, network):
    directory = lowered(BACKEND)
    assert sorted(path.name for path in directory.iterdir()) == ["inductor.json", "model.pt2"]
    compiled = read_compiled(directory)
    assert (compiled.freezing, compiled.layers, compiled.integer_layers, compiled.integer_kernels) == (False, 4, 0, {})
    assert compiled.constants["float32"] >= 4 * sum(p.numel() for p in network.parameters())
    assert not BACKEND.needs_code(directory)


class Branching(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_exported_is_unsupported_where_that_is_asked_for(request_for):
    for changes in ({"options": {"mode": "aot"}}, {"transforms": True}):
        request = request_for(**changes)
        with pytest.raises(UnsupportedError, match=r"torch\.export cannot follow this module: \w+"):
            BACKEND.lower(Branching(), request)
        assert not list(request.directory.iterdir())


def test_a_pass_on_the_exported_program_needs_one(request_for):
    with pytest.raises(UnsupportedError, match="mode=jit compiles the module itself"):
        BACKEND.lower(Branching(), request_for(options={"mode": "jit"}, transforms=True))


def test_an_unknown_mode_is_refused_with_the_known_ones(request_for):
    with pytest.raises(UnsupportedError, match="no mode=fast; it has: auto, aot, jit"):
        BACKEND.lower(Branching(), request_for(options={"mode": "fast"}))


def test_a_quantized_program_without_an_integer_kernel_is_no_result():
    silent = Compiled("ahead-of-time", 1, "int8", freezing=False, layers=4, integer_layers=4)
    with pytest.raises(InvalidOutputError, match=r"4 layers .* no INT8 kernel \(freezing is off; it must be on\)"):
        _require_integers(torch.nn.ReLU(), silent)
    sound = Compiled("ahead-of-time", 1, "int8", True, 4, 4, {"qlinear_pointwise": 4})
    _require_integers(torch.nn.ReLU(), sound)


def test_integer_weights_that_the_compiler_widened_are_no_result():
    pytest.importorskip("torchao")
    module, _ = PASSES.get("quantize.weight-only-int8")().apply_module(torch.nn.Sequential(torch.nn.Linear(8, 8)), None)
    widened = Compiled("ahead-of-time", 1, "int8 weights", True, 1, constants={"float32": 288})
    with pytest.raises(InvalidOutputError, match="widened them to floating point"):
        _require_integers(module, widened)
    _require_integers(module, Compiled("ahead-of-time", 1, "int8 weights", False, 1, constants={"int8": 64}))
