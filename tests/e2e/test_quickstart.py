"""A shortened quickstart for real: trains, builds, examines, measures and shows, as a user would type it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import harness
from harness.zoo import resource_dir

pytestmark = pytest.mark.e2e

KEEP = {"torch-bf16", "onnxruntime", "onnxruntime-static-int8", "onnxruntime-pruned-static-int8", "openvino"}


def run_harness(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    # A lock of this test's own: another measurement on this host must not fail it.
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(cwd / "cache"), "TMPDIR": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shortened quickstart suite, run once."""
    folder = tmp_path_factory.mktemp("quickstart")
    suite = yaml.safe_load((resource_dir("suites") / "quickstart.yaml").read_text())
    suite["measure"] |= {"replicates": 3, "max_replicates": 3, "rounds": 7, "block_s": 0.02, "budget_s": 30}
    [experiment] = suite["experiments"]
    experiment["variants"] = [v for v in experiment["variants"] if v.get("name", v["backend"]) in KEEP]
    (folder / "short.yaml").write_text(yaml.safe_dump(suite))
    first = run_harness("run", "short.yaml", cwd=folder)
    assert first.returncode == 0, first.stdout + first.stderr
    (folder / "first.txt").write_text(first.stdout)
    return folder


def test_every_variant_has_a_record_with_quality_speed_memory_and_size(folder: Path) -> None:
    frame = harness.load(folder / "results").set_index("trial")
    assert set(frame.index) == {"torch", *KEEP}
    measured = frame[frame["status"] == "ok"]
    assert set(measured.index) >= {"torch", *KEEP} - {"openvino"}
    for column in ("quality", "latency_p50_s", "throughput_per_s", "inference_peak_rss_bytes", "artifact_bytes"):
        assert (measured[column] > 0).all(), column
    assert (measured["load_s"] > 0).all()
    assert (measured["threads_actual"] == 1).all()
    compared = measured[measured["role"] != "baseline"]
    assert (compared["speedup_low"] <= compared["speedup"]).all()
    assert (compared["speedup"] <= compared["speedup_high"]).all()
    assert (compared["speedup_scope"] == "host").all()


def test_the_model_is_good_and_int8_keeps_its_size_small(folder: Path) -> None:
    frame = harness.load(folder / "results").set_index("trial")
    assert frame.loc["torch", "quality"] > 0.97
    assert frame.loc["onnxruntime-static-int8", "artifact_bytes"] < 0.5 * frame.loc["onnxruntime", "artifact_bytes"]
    pruned = frame.loc["onnxruntime-pruned-static-int8"]
    assert pruned["parameters"] < 0.5 * frame.loc["torch", "parameters"]
    steps = [step["name"] for step in pruned["build_steps"]]
    assert steps == ["model", "prune.channels", "train.finetune", "lower", "quantize.static-int8"]


def test_int8_on_onnxruntime_is_faster_than_eager_torch(folder: Path) -> None:
    # A ratio within one run; several times faster wherever INT8 dot products exist, and by far beyond noise.
    frame = harness.load(folder / "results").set_index("trial")
    assert frame.loc["onnxruntime-static-int8", "speedup_verdict"] == "faster"


def test_the_measured_onnxruntime_process_is_lean(folder: Path) -> None:
    frame = harness.load(folder / "results").set_index("trial")
    assert frame.loc["onnxruntime", "memory_floor_bytes"] < 0.6 * frame.loc["torch", "memory_floor_bytes"]


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="openvino is installed here")
def test_an_unavailable_backend_says_how_to_get_it(folder: Path) -> None:
    frame = harness.load(folder / "results").set_index("trial")
    assert frame.loc["openvino", "status"] == "unsupported"
    assert "pip install" in frame.loc["openvino", "reason"]
    assert "openvino not installed" in (folder / "first.txt").read_text()


def test_a_second_run_uses_the_cache_and_says_so(folder: Path) -> None:
    second = run_harness("run", "short.yaml", "--results", "again", cwd=folder)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("cached, no build") == 5
    frame = harness.load(folder / "again")
    assert frame[frame["status"] == "ok"]["build_cached"].all()


def test_show_prints_the_run_again(folder: Path) -> None:
    shown = run_harness("show", cwd=folder)
    assert shown.returncode == 0
    assert "onnxruntime-static-int8" in shown.stdout
    assert "replicates" in shown.stdout
