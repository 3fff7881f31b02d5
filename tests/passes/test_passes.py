from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import UnknownNameError, UnsupportedError
from harness.passes import PASSES


def test_all_passes_are_registered():
    assert list(PASSES) == [
        "autocast",
        "cast.bfloat16",
        "cast.float16",
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
        ("autocast", "onnxruntime", "use cast.float16"),
        ("autocast", "openvino", "use cast.bfloat16 or cast.float16"),
        ("quantize.dynamic-int8", "openvino", "use quantize.weight-only-int8"),
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
        ("quantize.static-int8", {"activations": "uint4"}),
        ("quantize.weight-only-int8", {"compute": "bfloat16"}),
        ("quantize.weight-only-int4", {"group_size": 48}),
        ("autocast", {"dtype": "float32"}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, params):
    with pytest.raises(ValueError, match=next(iter(params))):
        PASSES.get(name)(**params)


@pytest.mark.parametrize("name", list(PASSES))
def test_defaults_are_valid_and_a_pass_refuses_the_stages_it_does_not_work_at(name, tmp_path):
    item = PASSES.get(name)()
    apply = {
        "module": lambda: item.apply_module(None, None),
        "exported": lambda: item.apply_exported(None, None),
        "lowered": lambda: item.apply_lowered("onnxruntime", tmp_path, None),
    }
    for stage in set(apply) - {item.stage_on(backend) for backend in item.backends}:
        with pytest.raises(UnsupportedError, match=f"{name} is not a"):
            apply[stage]()


@pytest.mark.parametrize("name", list(PASSES))
def test_every_pair_with_a_backend_is_supported_or_has_a_reason(name):
    for backend in ("torch", "inductor", "onnxruntime", "openvino"):
        assert backend in PASSES.get(name).backends


def test_packages_are_asked_for_by_backend():
    static = PASSES.get("quantize.static-int8")
    assert "nncf" in static.distributions_on("openvino")
    assert "nncf" not in static.distributions_on("onnxruntime")
    assert "torchao" in static.distributions_on("inductor")
    assert PASSES.get("prune.channels").distributions_on("openvino") == ("torch-pruning",)


@pytest.mark.parametrize(
    ("name", "params", "precision"),
    [
        ("cast.float16", {}, "float16"),
        ("autocast", {}, "bfloat16"),
        ("autocast", {"dtype": "float16"}, "float16"),
        ("quantize.weight-only-int4", {}, "int4 weights"),
        ("train.finetune", {}, ""),
    ],
)
def test_a_pass_says_which_precision_it_asks_for(name, params, precision):
    assert PASSES.get(name)(**params).requested_precision() == precision
