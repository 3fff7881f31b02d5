"""Files to begin with, and the schema that they and all others are checked by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UserError
from harness.zoo import resource_dir
from tests.cli.test_try import harness

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    done = harness(folder, "init", "new")
    assert done.returncode == 0, done.stderr
    assert "harness run new/suite.yaml" in done.stdout
    return folder / "new"


@pytest.fixture(scope="module")
def schema(begun: Path) -> dict[str, Any]:
    printed = harness(begun, "schema", "suite")
    document: dict[str, Any] = json.loads(printed.stdout)
    jsonschema.Draft202012Validator.check_schema(document)
    return document


def test_what_init_writes_can_be_planned_at_once(begun: Path) -> None:
    planned = harness(begun, "plan", "suite.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "quantize.static-int8(examples=128)" in planned.stdout


def test_init_overwrites_nothing_unless_told(begun: Path) -> None:
    (begun / "suite.yaml").write_text(marked := (begun / "suite.yaml").read_text() + "# mine\n")
    again = harness(begun, "init")
    assert again.returncode == UserError.exit_code
    assert again.stderr.startswith("error: suite.yaml exists; name another folder")
    assert (begun / "suite.yaml").read_text() == marked
    assert harness(begun, "init", "--force").returncode == 0
    assert "# mine" not in (begun / "suite.yaml").read_text()


def test_every_suite_that_comes_with_the_harness_fits_the_schema(begun: Path, schema: dict[str, Any]) -> None:
    for path in [*resource_dir("suites").glob("*.yaml"), begun / "suite.yaml"]:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


@pytest.mark.parametrize(
    "change",
    [
        {"thread": 2},
        {"threads": 0},
        {"model": 3},
        {"model": {"onnx": "a.onnx", "inputs": {"x": {"shape": [0]}}}},
        {"variants": [{"backend": "torch", "passes": [{"a": {}, "b": {}}]}]},
    ],
)
def test_what_the_harness_refuses_the_schema_refuses_too(schema: dict[str, Any], change: dict[str, Any]) -> None:
    document = {"suite": "s", "experiments": [{"name": "e", "model": "digits-cnn", **change}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
