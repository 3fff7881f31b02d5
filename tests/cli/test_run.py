"""``harness run`` as a user types it: a small suite of the fake backend, interrupted, resumed, quiet, as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.store import RUN_FILE, RunWriter
from tests.run_folder import BASELINE, INT8, PLAIN, Folder, Row

SUITE = """
suite: small
measure:
  {replicates: 4, max_replicates: 4, rounds: 5, budget_s: 60, block_s: 0.002, stage_timeout_s: 20, utilization_s: 0.05}
experiments:
  - name: e
    model: _fake
    batch_size: 8
    baseline: {name: base, backend: fake}
    variants:
      - {name: bad, backend: fake, options: {fault: nan}}
      - {name: slow, backend: fake, options: {spin_s: 0.0005}}
"""


# A test run in the background inherits an ignored SIGINT, which Python then leaves ignored.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from harness.cli import main; main()"


def command(*arguments: str) -> list[str]:
    more = ["--force"] if arguments[0] == "run" else []  # a test may meet a busy host
    return [*[sys.executable, "-c", START, *arguments], *more]


def environment(folder: Path) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    # A lock and a cache of this test's own: another measurement on this host must not fail it.
    return {**os.environ, "HARNESS_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder), "PYTHONPATH": root}


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def interrupt(folder: Path, *arguments: str, after: str) -> tuple[int, str]:
    """Send Ctrl-C once a line of progress contains ``after``; returns exit code and stderr."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if after in line:
            process.send_signal(signal.SIGINT)
            break
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(row["trial"] for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SUITE)
    return tmp_path


def test_ctrl_c_says_how_to_finish_and_that_finishes(folder: Path) -> None:
    code, stderr = interrupt(folder, "run", "small.yaml", after="replicate 1 done")
    [directory] = (folder / "results").iterdir()
    assert code == 130
    assert stderr == f"interrupted; finish it with: harness run --resume {directory.name}\n"

    (folder / "small.yaml").write_text("suite: changed since\n")
    finished = harness(folder, "run", "--resume", directory.name)
    assert finished.returncode == 0, finished.stderr
    assert "resumed  1 trial has its record, 2 are examined, 1 replicate is measured already" in finished.stdout
    assert "\x1b" not in finished.stdout
    header = json.loads((directory / RUN_FILE).read_text())
    assert header["suite_text"] == SUITE
    assert header["suite_file"] == str(folder / "small.yaml")  # resumed from anywhere
    assert header["options"] == {"cache": None, "models": None}
    assert len(header["resumed_at"]) == 1

    again = harness(folder, "run", "--resume", "latest", "--json", "--quiet")
    assert again.returncode == 0
    assert names(json.loads(again.stdout)["rows"]) == ["bad", "base", "slow"]
    said = harness(folder, "run", "--resume", "latest")
    assert said.returncode == 0
    assert said.stdout.startswith(f"{directory.name} is complete: every trial has its record\n")
    assert header == json.loads((directory / RUN_FILE).read_text())


def test_an_interrupt_in_another_folder_of_results_names_the_whole_path(folder: Path) -> None:
    _, stderr = interrupt(folder, "run", "small.yaml", "--results", "mine", after="built")
    [directory] = (folder / "mine").iterdir()
    assert stderr.endswith(f"harness run --resume mine/{directory.name}\n")


def test_json_is_one_document_on_stdout_and_progress_is_on_stderr(folder: Path) -> None:
    ran = harness(folder, "run", "small.yaml", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["complete"] is True
    assert Path(folder / document["directory"], RUN_FILE).is_file()
    assert document["host"]["id"]
    assert document["experiments"][0]["measure"]["replicates"] == 4
    rows = {row["trial"]: row for row in document["rows"]}
    assert rows["slow"]["speedup_verdict"] == "slower"
    assert rows["slow"]["speedup_low"] <= rows["slow"]["speedup"] <= rows["slow"]["speedup_high"]
    assert rows["bad"]["latency_p50_s"] is None
    assert "invalid" in rows["bad"]["missing"]["latency_p50_s"]
    assert "experiment e (1 of 1, 3 trials)" in ran.stderr
    assert "\x1b" not in ran.stderr
    shown = harness(folder, "show", "--json")
    assert json.loads(shown.stdout) == document


def test_quick_runs_what_the_profile_keeps_and_is_finished_as_it_began(folder: Path) -> None:
    (folder / "small.yaml").write_text(SUITE + "profiles:\n  quick: {variants: [slow]}\n")
    code, stderr = interrupt(folder, "run", "small.yaml", "--quick", after="replicate 1 done")
    assert (code, "--resume" in stderr) == (130, True)
    refused = harness(folder, "run", "--resume", "latest", "--quick")
    assert refused.returncode == 2
    assert "leave --profile and --quick out" in refused.stderr
    finished = harness(folder, "run", "--resume", "latest", "--json", "-q")
    assert finished.returncode == 0, finished.stderr
    assert names(json.loads(finished.stdout)["rows"]) == ["base", "slow"]
    planned = harness(folder, "plan", "small.yaml", "--profile", "quick")
    assert "harness run small.yaml --profile quick" in planned.stdout
    assert "bad" not in planned.stdout


def test_a_profile_that_does_not_exist_and_two_at_once_are_refused(folder: Path) -> None:
    none = harness(folder, "run", "small.yaml", "--profile", "fast")
    assert none.returncode == 2
    assert "the suite has no profile 'fast'; it has none; leave --profile out" in none.stderr
    two = harness(folder, "run", "small.yaml", "--profile", "fast", "--quick")
    assert two.returncode == 2
    assert "--quick is --profile quick; name one profile only" in two.stderr


def test_quiet_prints_the_table_and_the_paths_only(folder: Path) -> None:
    ran = harness(folder, "run", "small.yaml", "-q")
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert "built" not in ran.stdout
    assert "replicate 1 done" not in ran.stdout
    assert "slower" in ran.stdout
    assert "records:  results/small-" in ran.stdout


@pytest.mark.parametrize("arguments", [["small.yaml", "--resume", "latest"], []])
def test_a_suite_and_a_run_to_resume_exclude_each_other(folder: Path, arguments: list[str]) -> None:
    ran = harness(folder, "run", *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: name a suite to start a run (harness run SUITE), or one to finish")
    assert ran.stderr.count("\n") == 1


def test_a_run_of_an_older_harness_cannot_be_resumed_and_says_so(folder: Path) -> None:
    trials = {"name": "e", "trials": ["a"]}
    RunWriter(folder / "results" / "old", {"experiments": [trials], "started_at": "2026-01-01T00:00:00Z"})
    ran = harness(folder, "run", "--resume", "old")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: old cannot be resumed: it holds no copy of its suite")


def test_a_damaged_run_is_named_and_the_latest_of_the_others_is_shown(folder: Path) -> None:
    rows = [Row(BASELINE, 2.0), Row(PLAIN, 1.0), Row(INT8, 0.5)]
    Folder(rows).write(folder / "results" / "good")
    Folder(rows).write(folder / "results" / "zz")
    (folder / "results" / "zz" / RUN_FILE).write_text("{")
    shown = harness(folder, "show")
    assert shown.returncode == 0
    assert shown.stdout.startswith("good on")
    assert shown.stderr.startswith("warning: results/zz/run.json is damaged")
    unknown = harness(folder, "show", "gold")
    assert unknown.stderr.splitlines()[-1] == "error: unknown run 'gold'; did you mean 'good'?"
