"""What importing costs: a user's ``--help`` and the measured process must load nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import harness

HEAVY = ("torch", "pandas", "onnxruntime", "onnx", "openvino", "sklearn", "scipy", "pydantic", "pyarrow")


def loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after ``code``."""
    report = f"import sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    reply = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(json.loads(reply.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["show", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys\nsys.argv = ['harness', *{arguments!r}]\nfrom harness.cli import main\n"
    # typer looks at parameter types with pydantic where it is installed.
    assert loaded_by(code + "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code") <= {"pydantic"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import harness") == set()


def test_the_worker_is_what_a_user_would_deploy() -> None:
    assert loaded_by("import harness.worker") == set()


def test_the_analysis_leg_needs_no_runtime() -> None:
    assert loaded_by("import harness.verdicts") <= {"pandas", "scipy", "pydantic", "pyarrow"}
    assert loaded_by("import harness; harness.load") <= {"pandas", "scipy", "pydantic", "pyarrow"}


def test_listing_models_imports_no_runtime() -> None:
    code = "from harness.zoo import load_model, model_files\nfor name in model_files(): load_model(name)"
    assert loaded_by(code) == set()


def test_the_package_exports_load_and_its_version() -> None:
    assert harness.__all__ == ["__version__", "load"]
    public = {name for name in vars(harness) if not name.startswith("_")}
    modules = {name.partition(".")[2].partition(".")[0] for name in sys.modules if name.startswith("harness.")}
    assert public - modules <= {"annotations", "load", "TYPE_CHECKING", "Any"}
    assert callable(harness.load)
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'nothing'"):
        _ = harness.nothing  # type: ignore[attr-defined]
