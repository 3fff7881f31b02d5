"""``harness doctor`` as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.cli import doctor as command
from harness.doctor import diagnose
from harness.environment import host_fingerprint
from harness.errors import UserError
from harness.host.gpu import Gpu
from harness.noise import keep
from tests.host.fake_root import write_root
from tests.test_noise import NOISE
from tests.test_package import loaded_by


def test_the_report_has_all_sections_and_says_how_to_measure_noise(cache_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 0, shown.output
    for part in ("processor", "memory", "load and limits", "GPU", "libraries", "backends", "places", str(cache_dir)):
        assert part in shown.output
    assert "harness doctor --noise" in shown.output


def test_json_is_json_and_nothing_else(cache_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["places"]["cache"] == str(cache_dir)


def test_measured_noise_is_told_with_the_smallest_difference(cache_dir: Path) -> None:
    keep(replace(NOISE, host=host_fingerprint()["id"]))
    shown = CliRunner().invoke(app, ["doctor"])
    assert "sd of a block 3.00 %, of a process 1.00 % [0.50 %, 2.00 %]" in shown.output
    assert "at 5 × 25" in shown.output
    assert "repeat the measurement" not in shown.output


def test_noise_of_a_disturbed_host_is_called_so(cache_dir: Path) -> None:
    keep(replace(NOISE, host=host_fingerprint()["id"], clean=False))
    assert "repeat the measurement when it is quiet" in CliRunner().invoke(app, ["doctor"]).output


def test_its_help_loads_nothing_heavy() -> None:
    code = "import sys\nsys.argv = ['harness', 'doctor', '--help']\nfrom harness.cli import main\n"
    assert loaded_by(code + "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code") <= {"pydantic"}


def test_without_any_backend_it_exits_with_1(cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose(write_root(tmp_path / "root", **{"proc/sys/kernel/sched_autogroup_enabled": "1"}))
    found = replace(
        found,
        backends={"torch": "torch not installed: pip install torch"},
        facts=replace(found.facts, gpus=(Gpu("G", "5"),)),
    )
    monkeypatch.setattr("harness.doctor.diagnose", lambda: found)
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "torch not installed: pip install torch" in shown.output
    assert "nothing can be measured" in shown.output
    assert "autogroup" in shown.output
    assert "G, driver 5" in shown.output


def test_what_cannot_be_read_is_shown_with_its_reason(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = diagnose(tmp_path / "empty")
    monkeypatch.setattr("harness.doctor.diagnose", lambda: found)
    shown = CliRunner().invoke(app, ["doctor"])
    assert "not readable here (/proc/loadavg does not exist)" in shown.output
    assert "nothing that was readable endangers" in shown.output


def test_noise_is_measured_for_the_threads_asked_for(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(command, "_measure_noise", asked.append)
    assert CliRunner().invoke(app, ["doctor", "--noise"]).exit_code == 0
    assert CliRunner().invoke(app, ["doctor", "--noise", "--threads", "2"]).exit_code == 0
    assert asked == [1, 2]


def test_threads_without_noise_is_a_mistake() -> None:
    result = CliRunner().invoke(app, ["doctor", "--threads", "2"])
    assert isinstance(result.exception, UserError)
    assert "--noise --threads N" in str(result.exception)
