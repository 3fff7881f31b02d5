"""docs/your-own-model.md, done as it says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from tests.docs.blocks import read_page

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, after all its commands."""
    folder = tmp_path_factory.mktemp("own")
    page = read_page("docs/your-own-model.md")
    page.write(folder)
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder)}
    for command in page.commands:
        program, *arguments = shlex.split(command)
        arguments += ["--force"] if arguments[0] == "run" else []  # a test may meet a busy host
        start = {"python": [sys.executable], "harness": [sys.executable, "-m", "harness"]}[program]
        done = subprocess.run(
            [*start, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        (folder / "log.txt").open("a").write(f"$ {command}\n{done.stdout}")
    return folder


def test_a_torch_module_with_targets_is_judged_by_accuracy(folder: Path) -> None:
    rows = harness.load(folder / "results").set_index(["experiment", "trial"]).loc["network"]
    assert set(rows["status"]) == {"ok"}, rows["reason"].to_list()
    assert set(rows["quality_metric"]) == {"accuracy"}
    assert [step["name"] for step in rows.loc["int8", "build_steps"]][-1] == "quantize.static-int8"


def test_an_onnx_file_with_synthetic_data_is_judged_by_agreement(folder: Path) -> None:
    rows = harness.load(folder / "results").set_index(["experiment", "trial"]).loc["tiny"]
    assert set(rows["status"]) == {"ok"}, rows["reason"].to_list()
    assert rows.loc["onnxruntime", "role"] == "baseline"
    assert set(rows["quality_metric"]) == {"cosine-agreement"}


def test_a_folder_of_model_files_is_known_by_their_names(folder: Path) -> None:
    log = (folder / "log.txt").read_text()
    assert "three overlapping clouds of points" in log
    assert "train.finetune(epochs=2)" in log


def test_a_report_was_written(folder: Path) -> None:
    assert list((folder / "reports").glob("mine-*.html"))
