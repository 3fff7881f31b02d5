"""``harness report`` as a user types it, and what importing the report costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.find import find_run
from harness.errors import UnknownNameError, UserError
from tests.run_folder import BASELINE, INT8, Folder, Row


def run_harness(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def write_run(folder: Path, name: str) -> Path:
    return Folder([Row(BASELINE, 2.0), Row(INT8, 0.5)]).write(folder / "results" / name)


def test_report_writes_a_page_and_prints_its_path(tmp_path: Path) -> None:
    write_run(tmp_path, "r")
    made = run_harness("report", "r", cwd=tmp_path)
    assert (made.returncode, made.stdout, made.stderr) == (0, "reports/r.html\n", "")
    assert "ort-int8" in (tmp_path / "reports/r.html").read_text(encoding="utf-8")


def test_report_writes_where_it_is_told(tmp_path: Path) -> None:
    write_run(tmp_path, "r")
    made = run_harness("report", "--output", "page.html", cwd=tmp_path)
    assert (made.returncode, made.stdout) == (0, "page.html\n")
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("command", ["report", "show"])
def test_no_runs_are_an_error_with_its_remedy(tmp_path: Path, command: str) -> None:
    (tmp_path / "results").mkdir()
    made = run_harness(command, cwd=tmp_path)
    assert made.returncode == 2
    assert made.stderr == "error: results/ holds no runs; harness run SUITE makes one\n"


def test_a_run_is_found_by_folder_by_name_and_as_the_latest(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, second = write_run(tmp_path, "first"), write_run(tmp_path, "second")
    published = write_run(tmp_path, "published/third")
    assert find_run(str(first), results) == first
    assert find_run("first", results) == first
    assert find_run("third", results) == published
    assert find_run("latest", results) in {second, published}


def test_an_unknown_run_comes_with_a_suggestion(tmp_path: Path) -> None:
    write_run(tmp_path, "quickstart-1")
    with pytest.raises(UnknownNameError, match="unknown run 'quickstrat-1'; did you mean 'quickstart-1'"):
        find_run("quickstrat-1", tmp_path / "results")
    with pytest.raises(UserError, match="does not exist"):
        find_run("latest", tmp_path / "nowhere")


def test_the_report_loads_no_torch_and_no_runtime() -> None:
    code = "import sys, harness.report.page\nprint([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
