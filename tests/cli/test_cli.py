"""The command line as a user types it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.schema import Energy, Memory, Status, Trial, Utilization
from tests.run_folder import BASELINE, INT8, PLAIN, Folder, Row


def run_harness(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", ["digits-cnn"]),
        ("backends", ["torch", "inductor", "onnxruntime", "openvino"]),
        (
            "passes",
            ["cast.bfloat16", "prune.channels", "quantize.dynamic-int8", "quantize.static-int8", "train.finetune"],
        ),
        ("suites", ["quickstart"]),
    ],
)
def test_list_shows_what_a_suite_may_name(kind: str, names: list[str]) -> None:
    shown = run_harness("list", kind)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in names)
    assert "fake" not in shown.stdout


def test_plan_shows_trials_reasons_and_time_without_running(tmp_path: Path) -> None:
    shown = run_harness("plan", "quickstart", "--cache", str(tmp_path))
    assert shown.returncode == 0
    assert "onnxruntime-static-int8" in shown.stdout
    assert "in all about" in shown.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_unknown_suite_is_one_line_with_a_suggestion_and_exit_code_2(command: str) -> None:
    shown = run_harness(command, "quickstrat")
    assert shown.returncode == 2
    assert shown.stderr == "error: unknown suite 'quickstrat'; did you mean 'quickstart'?\n"


def test_a_typo_in_a_suite_is_one_line_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("suite: s\nexperiments:\n  - name: e\n    model: digits-cnn\n    thread: 2\n")
    shown = run_harness("run", "s.yaml", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: s.yaml:5: unknown key 'thread'; did you mean 'threads'?")
    assert shown.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_show_notes_what_was_used_of_the_machine(tmp_path: Path) -> None:
    energy = Energy(0.0125, 10.0, 1.0, 800, "rapl:package-0", "whole package")
    leaky = Memory(100, 300, 250, 90, 80, 1e6)
    rows = [
        Row(replace(BASELINE, threads=2), 2.0, utilization=Utilization(1.0, 9, 20, 1.95, 0.0, {}), energy=energy),
        Row(
            replace(INT8, threads=2),
            1.0,
            utilization=Utilization(1.0, 9, 20, 0.6, 1.3, {}, disturbed=True),
            memory=leaky,
        ),
    ]
    Folder(rows).write(tmp_path / "results" / "r")
    notes = " ".join(run_harness("show", "r", cwd=tmp_path).stdout.split())
    assert "CPU use: 0.60 to 1.95 of 2 cores (1 of 2 disturbed from outside)" in notes
    assert "ort-int8: asked for 2 threads, used 0.60 cores and waited for 1.30 that others had" in notes
    assert "ort-int8: grows by 1.00 MB with each call" in notes
    assert "energy: 12.5 mJ an example (rapl:package-0: whole package)" in notes
    Folder([Row(BASELINE, 2.0)]).write(tmp_path / "results" / "bare")
    notes = " ".join(run_harness("show", "bare", cwd=tmp_path).stdout.split())
    assert "CPU use: unmeasured (no counter)" in notes
    assert "energy: unmeasured (no counter)" in notes


def test_show_prints_verdicts_and_failures(tmp_path: Path) -> None:
    broken = (Trial("broken", "e", "net", "ort"), Status.CRASHED, "killed by SIGSEGV")
    Folder([Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(INT8, 0.5)], failed=[broken]).write(tmp_path / "results" / "r")
    shown = run_harness("show", "r", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "faster" in shown.stdout
    assert "crashed broken: killed by SIGSEGV" in shown.stdout


def test_show_of_nothing_says_how_to_make_something(tmp_path: Path) -> None:
    shown = run_harness("show", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr == "error: results does not exist; harness run SUITE makes results\n"


def test_the_version_is_printed() -> None:
    assert run_harness("--version").stdout.startswith("optimization-harness ")
