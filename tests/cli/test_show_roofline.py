from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from typer.testing import CliRunner

from harness.cli import app
from harness.schema import Work
from tests.run_folder import BASELINE, INT8, PLAIN, Folder, Row
from tests.test_peaks import PEAKS

WORK = Work(1e9, 1e6, 1e6, 8_000_000, "float32", "by hand")


def shown(folder: Folder, directory: Path) -> str:
    result = CliRunner().invoke(app, ["show", str(folder.write(directory)), "--roofline"])
    assert result.exit_code == 0, result.output
    return result.output


def test_each_trial_has_its_line_and_each_gap_its_reason(tmp_path: Path) -> None:
    rows = [Row(BASELINE, 80.0, work=WORK), Row(PLAIN, 1000.0, work=WORK), Row(INT8, 20.0, work=WORK)]
    text = shown(Folder(rows, peaks=[asdict(PEAKS)]), tmp_path / "run")
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "4.00 GFLOP" in lines["torch"]
    assert "16.0 MB" in lines["torch"]
    assert lines["torch"].split()[-2:] == ["%", "arithmetic"]
    assert lines["ort"].split()[-1] == "overhead"
    assert lines["ort-int8"].split()[-1] == "-"
    assert "share: ort-int8: 200 % of the limit, so an assumption does not hold" in " ".join(text.split())


def test_without_peaks_the_command_that_measures_them_is_named_once(tmp_path: Path) -> None:
    text = shown(Folder([Row(BASELINE, 80.0, work=WORK), Row(INT8, 40.0, work=WORK)]), tmp_path / "run")
    assert text.count("not measured: harness doctor --peaks") == 1
