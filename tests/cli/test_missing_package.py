"""What a user sees where optional packages are not installed, whatever is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python runs it at its start. What asks for these distributions is told that they are not there.
HIDE = """
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name in ("openvino", "nncf", "torchao"):
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
"""
SUITE = """
suite: bare
experiments:
  - name: e
    model: _fake
    baseline: {backend: fake}
    measure: {replicates: 3, max_replicates: 3, rounds: 7, budget_s: 5, block_s: 0.002, utilization_s: 0}
    variants:
      - {backend: openvino}
      - {name: torchao, backend: torch, passes: [quantize.dynamic-int8]}
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "bare.yaml").write_text(SUITE)
    return tmp_path


def harness(folder: Path, *arguments: str) -> str:
    root = Path(__file__).resolve().parents[2]
    path = {"PYTHONPATH": f"{folder}:{root}", "TMPDIR": str(folder), "HARNESS_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **path, "COLUMNS": "400"}, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_list_of_passes_names_the_extra_that_installs_what_is_missing(bare: Path) -> None:
    said = harness(bare, "list", "passes")
    assert "quantize.static-int8 on openvino: nncf, openvino not installed: pip install" in said.replace(
        "openvino, nncf", "nncf, openvino"
    )
    assert (
        "quantize.dynamic-int8 on torch: torchao not installed: pip install 'optimization-harness[quantization]'"
        in said
    )


def test_a_run_records_them_as_unsupported_and_measures_the_rest(bare: Path) -> None:
    said = harness(bare, "run", "bare.yaml", "--force")
    assert "unsupported  openvino: openvino not installed: pip install 'optimization-harness[openvino]'" in said
    assert "unsupported  torchao: torchao not installed: pip install 'optimization-harness[quantization]'" in said
    assert "3 replicates" in said
