"""What a user may type after ``harness try``, and what is said when it cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.try_ import read_input, read_model
from harness.errors import UserError

NET = """\
from torch import nn

def alone():
    return nn.Linear(4, 2)

def number():
    return 3

def with_arguments(size):
    return nn.Linear(size, 2)

def broken():
    raise FileNotFoundError("no checkpoint at weights.pt")

def crashing():
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(folder), "HARNESS_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "harness", *arguments]
    root = str(Path(__file__).resolve().parent.parent.parent)
    environment["PYTHONPATH"] = root
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("try")
    (folder / "net.py").write_text(NET)
    (folder / "syntax.py").write_text("def build(:\n")
    (folder / "text.onnx").write_text("no model")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.onnx"], "nothing.onnx does not exist"),
        (["text.onnx"], "ONNX Runtime cannot open"),
        (["nothing.py:build"], "nothing.py does not exist"),
        (["net.py"], "'net.py' is no model: name file.onnx, file.py:function, package.module:function"),
        (["net.py:alon"], "has no 'alon'; did you mean 'alone'?"),
        (["net.py:alone"], "takes: return (module, example_inputs) from it, or state the shape"),
        (["net.py:alone", "--input", "x=batch,5"], "raised RuntimeError on x float32[1, 5]"),
        (["net.py:alone", "--input", "x=batch,4", "--data", "nowhere"], "nowhere is no folder"),
        (["net.py:alone", "--input", "x=batch,4", "--metric", "accurcy"], "did you mean 'accuracy'?"),
        (["net.py:number"], "gives a int; it must return a torch.nn.Module"),
        (["net.py:with_arguments"], "needs arguments (size); name a function that takes none, or 'seed'"),
        (["net.py:broken"], "raised FileNotFoundError: no checkpoint at weights.pt"),
        (["net.py:crashing"], "killed by SIGSEGV"),
        (["syntax.py:build"], "syntax.py:1: SyntaxError"),
        (["no_module:build"], "module no_module cannot be imported"),
        (["digits-cn"], "unknown model 'digits-cn'; did you mean 'digits-cnn'?"),
        (["digits-cnn", "--metric", "accuracy"], "brings its own data"),
        (["net.py:alone", "--input", "x=1,4", "--batch-size", "2"], "has no batch axis, so its batch size is 1"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence_and_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    shown = harness(folder, "try", *arguments)
    assert message in shown.stderr
    assert shown.stderr.startswith("error: ")
    assert shown.stderr.count("\n") == 1
    assert shown.returncode == 2
    assert not (folder / "results").exists()


def test_a_suite_is_never_overwritten(folder: Path) -> None:
    (folder / "kept.yaml").write_text("precious")
    shown = harness(folder, "try", "digits-cnn", "--save", "kept.yaml")
    assert shown.stderr == "error: kept.yaml exists; name another file for the suite\n"
    assert (folder / "kept.yaml").read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "name", "entry"),
    [
        ("image=batch,3,224,224", "image", {"shape": ["batch", 3, 224, 224]}),
        ("input.1=1,3,32,32", "input.1", {"shape": [1, 3, 32, 32]}),
        ("ids=1,128:int64", "ids", {"shape": [1, 128], "dtype": "int64"}),
        ("ids=batch,8:int64:0..100", "ids", {"shape": ["batch", 8], "dtype": "int64", "low": 0.0, "high": 100.0}),
        ("x=batch,8:-1.5..1.5", "x", {"shape": ["batch", 8], "low": -1.5, "high": 1.5}),
        ("sr=:int64:16000..16001", "sr", {"shape": [], "dtype": "int64", "low": 16000.0, "high": 16001.0}),
    ],
)
def test_an_input_is_read_as_name_sizes_format_and_range(text: str, name: str, entry: dict[str, object]) -> None:
    assert read_input(text) == (name, entry)


@pytest.mark.parametrize("text", ["image", "=1,2", "x=1,b", "x=1,-3", "x=1:float32:0", "x=1.5"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"write it like 'image=batch,3,224,224'"):
        read_input(text)


def test_the_kind_of_a_model_is_seen_by_its_form() -> None:
    assert read_model("a/b.onnx", None, [], None).onnx == "a/b.onnx"
    assert read_model("a/b.py:build", None, [], None).python == "a/b.py:build"
    assert read_model("a.b:build", None, [], None).python == "a.b:build"
    assert read_model("digits-cnn", None, [], None).zoo == "digits-cnn"
