from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import UnknownNameError, UnsupportedError
from harness.passes import PASSES


def test_all_passes_are_registered():
    assert list(PASSES) == [
        "cast.bfloat16",
        "onnx.constant-weights",
        "prune.channels",
        "quantize.dynamic-int8",
        "quantize.static-int8",
        "quantize.weight-only-int4",
        "quantize.weight-only-int8",
        "train.finetune",
    ]


def test_importing_the_passes_imports_no_framework():
    code = "import sys, harness.passes; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "onnx", "onnxruntime", "torch_pruning", "sklearn"} & set(loaded.split())


def test_a_misspelt_pass_is_answered_with_the_right_name():
    with pytest.raises(UnknownNameError, match=r"quantize\.static-int8"):
        PASSES.get("quantise.static-int8")


@pytest.mark.parametrize(
    ("name", "backend", "reason"),
    [
        ("cast.bfloat16", "onnxruntime", "no bfloat16 kernels"),
        ("cast.bfloat16", "openvino", "option precision=bf16"),
        ("quantize.static-int8", "torch", "no INT8 path"),
        ("quantize.dynamic-int8", "inductor", "not implemented yet"),
        ("quantize.static-int8", "openvino", "NNCF"),
        ("prune.channels", "unheard-of", "it runs on: torch, inductor, onnxruntime, openvino"),
    ],
)
def test_a_pair_that_does_not_exist_says_why(name, backend, reason):
    assert reason in PASSES.get(name).unsupported_on(backend)


@pytest.mark.parametrize("name", ["prune.channels", "train.finetune"])
@pytest.mark.parametrize("backend", ["torch", "inductor", "onnxruntime", "openvino"])
def test_passes_on_torch_modules_serve_every_backend_that_starts_from_one(name, backend):
    assert PASSES.get(name).unsupported_on(backend) is None


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("train.finetune", {"epochs": 0}),
        ("train.finetune", {"epochs": 1.5}),
        ("train.finetune", {"learning_rate": -1e-3}),
        ("train.finetune", {"learning_rate": float("nan")}),
        ("train.finetune", {"batch_size": True}),
        ("prune.channels", {"amount": 0}),
        ("prune.channels", {"amount": 1.0}),
        ("prune.channels", {"amount": "half"}),
        ("prune.channels", {"round_to": 0}),
        ("quantize.static-int8", {"calibration": "magic"}),
        ("quantize.static-int8", {"examples": 0}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, params):
    with pytest.raises(ValueError, match=next(iter(params))):
        PASSES.get(name)(**params)


@pytest.mark.parametrize("name", list(PASSES))
def test_defaults_are_valid_and_a_pass_refuses_the_other_form(name, tmp_path):
    item = PASSES.get(name)()
    other = {
        "module": lambda: item.apply_lowered("onnxruntime", tmp_path, None),
        "lowered": lambda: item.apply_module(None, None),
    }[item.form]
    with pytest.raises(UnsupportedError, match=f"{name} is not a"):
        other()
