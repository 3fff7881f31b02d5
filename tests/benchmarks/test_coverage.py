from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

MARKED = "# Measurement\n\nbefore\n<!-- coverage:begin -->\nold\n<!-- coverage:end -->\nafter\n"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("harness_benchmarks_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_printed_and_replace_the_text_between_the_markers(
    coverage: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "measurement.md"
    page.write_text(MARKED, encoding="utf-8")
    assert coverage.main(["--experiments", "3", "--seed", "1", "--write", str(page)]) == 0
    printed = capsys.readouterr().out.strip()
    written = page.read_text(encoding="utf-8")
    assert written == MARKED.replace("\nold\n", f"\n{printed}\n")
    assert all(scenario.name in printed for scenario in coverage.SCENARIOS)
    assert all(name in printed for name in coverage.METHODS)


def test_a_seed_gives_the_same_tables_again(coverage: ModuleType) -> None:
    assert coverage.methods_table(2, 1) == coverage.methods_table(2, 1)
    assert coverage.percentile_table(3, 1) != coverage.percentile_table(3, 2)


@pytest.mark.parametrize("text", ["no markers", "<!-- coverage:end -->\n<!-- coverage:begin -->\n"])
def test_a_file_without_markers_is_refused_before_the_simulation(
    coverage: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    page = tmp_path / "measurement.md"
    page.write_text(text, encoding="utf-8")
    # So many experiments would run for hours.
    assert coverage.main(["--experiments", "1000000", "--write", str(page)]) == 2
    assert "needs a line <!-- coverage:begin -->" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_a_missing_file_is_refused_before_the_simulation(
    coverage: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert coverage.main(["--experiments", "1000000", "--write", str(tmp_path / "none.md")]) == 2
    assert "none.md" in capsys.readouterr().err


def test_an_undisturbed_experiment_shows_the_true_effect(coverage: ModuleType) -> None:
    silent = coverage.Scenario("silent", noise=0.0)
    simulated = coverage.simulate(silent, 5, 8, 3, np.random.default_rng(1), effect=0.2)
    assert simulated.log_ratios == pytest.approx(np.full((3, 5, 8), np.log(1.2)))
    outcome = coverage.conclude(simulated.log_ratios[0], coverage.PRODUCT)
    assert outcome.estimate.value == pytest.approx(1.2)
    assert outcome.used == 5


def test_a_process_keeps_its_offset_through_all_its_rounds(coverage: ModuleType) -> None:
    offsets = coverage.Scenario("offsets only", noise=0.0, offset=0.01)
    simulated = coverage.simulate(offsets, 4, 6, 5, np.random.default_rng(2))
    assert simulated.log_ratios == pytest.approx(np.repeat(simulated.process[..., None], 6, axis=2))
    assert np.ptp(simulated.process, axis=1).min() > 0


def test_interleaving_cancels_most_of_a_drift(coverage: ModuleType) -> None:
    drift = coverage.Scenario("drift only", noise=0.0, drift=0.002)
    simulated = coverage.simulate(drift, 5, 8, 20, np.random.default_rng(3))
    # One block's worth is left of the sixteen of a replicate, its sign is the round's order.
    assert np.abs(simulated.log_ratios) == pytest.approx(np.full((20, 5, 8), 0.002))


def test_a_wide_interval_runs_to_the_last_replicate(coverage: ModuleType) -> None:
    noisy = dataclasses.replace(coverage.QUIET, offset=0.2)
    simulated = coverage.simulate(noisy, 10, 8, 1, np.random.default_rng(4))
    assert coverage.conclude(simulated.log_ratios[0], coverage.PRODUCT).used == 10
