"""The wheel in an empty folder, as a user has it: a shortened quickstart, a model tried, the report."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

import harness
from harness.zoo import resource_dir

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent.parent
KEEP = {"torch-bf16", "onnxruntime", "onnxruntime-static-int8", "onnxruntime-pruned-static-int8", "openvino"}


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of the wheel, installed into an environment of its own beside this one's libraries."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", place, ROOT], check=True, timeout=250)
    venv.create(place / "venv", with_pip=False)
    site = next((place / "venv" / "lib").glob("python*")) / "site-packages"
    # The libraries as plain folders: their .pth files are not read, so the editable harness is not found.
    (site / "libraries.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    python = place / "venv" / "bin" / "python"
    [wheel] = place.glob("optimization_harness-*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True, timeout=250)
    return place / "venv" / "bin" / "harness"


def run_harness(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # A lock of this test's own: another measurement on this host must not fail it.
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(cwd / "cache"), "TMPDIR": str(cwd)}
    command = [script, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def folder(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shortened quickstart suite, run once."""
    folder = tmp_path_factory.mktemp("quickstart")
    suite = yaml.safe_load((resource_dir("suites") / "quickstart.yaml").read_text())
    suite["measure"] |= {
        "replicates": 3,
        "max_replicates": 3,
        "rounds": 7,
        "block_s": 0.02,
        "budget_s": 30,
        "utilization_s": 0.2,
    }
    [experiment] = suite["experiments"]
    experiment["variants"] = [v for v in experiment["variants"] if v.get("name", v["backend"]) in KEEP]
    (folder / "short.yaml").write_text(yaml.safe_dump(suite))
    first = run_harness(script, "run", "short.yaml", "--force", cwd=folder)
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


def test_a_second_run_uses_the_cache_and_says_so(script: Path, folder: Path) -> None:
    second = run_harness(script, "run", "short.yaml", "--force", "--results", "again", cwd=folder)
    assert second.returncode == 0, second.stderr
    frame = harness.load(folder / "again")
    built = frame[frame["status"] == "ok"]  # with OpenVINO where it is installed
    assert built["build_cached"].all()
    assert second.stdout.count("cached, no build") == len(built) >= 5


def test_show_prints_the_run_again(script: Path, folder: Path) -> None:
    shown = run_harness(script, "show", cwd=folder)
    assert shown.returncode == 0
    assert "onnxruntime-static-int8" in shown.stdout
    assert "replicates" in shown.stdout


def test_the_wheel_is_what_runs_and_knows_its_own_suites_and_models(script: Path, tmp_path: Path) -> None:
    place = "import harness, sys; sys.exit(0 if 'wheel' in harness.__file__ else harness.__file__)"
    subprocess.run([script.parent / "python", "-c", place], check=True, timeout=60, cwd=tmp_path)
    for command in (["plan", "quickstart"], ["list", "models"], ["list", "suites"], ["schema", "suite"]):
        done = run_harness(script, *command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "digits-cnn" in run_harness(script, "list", "models", cwd=tmp_path).stdout


def test_an_onnx_file_is_tried_in_one_line_and_its_suite_runs_again(script: Path, tmp_path: Path) -> None:
    write_two_inputs(tmp_path / "some.onnx")
    done = run_harness(script, "try", "some.onnx", "--force", "--budget", "2", "--save", "kept.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cosine-agreement, with the unoptimized model on synthetic inputs" in done.stdout
    frame = harness.load(tmp_path / "results").set_index("trial")
    assert frame.loc["onnxruntime", "role"] == "baseline"
    assert frame.loc["onnxruntime-dynamic-int8", "status"] == "ok", frame.loc["onnxruntime-dynamic-int8", "reason"]
    [report] = (tmp_path / "reports").glob("*.html")
    assert "some" in report.read_text(encoding="utf-8")
    planned = run_harness(script, "plan", "kept.yaml", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr


def write_two_inputs(path: Path) -> None:
    """Write a model with token ids and a mask as inputs: an embedding, a product, and two outputs."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(50, 32)).astype(np.float32), "table"),
        numpy_helper.from_array(rng.normal(size=(32, 16)).astype(np.float32), "weights"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["embedded", "wide_mask"], ["masked"]),
        helper.make_node("MatMul", ["masked", "weights"], ["hidden"]),
        helper.make_node("ReduceMean", ["hidden"], ["pooled"], axes=[1], keepdims=0),
    ]
    ids, mask = (
        helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "length"]) for n in ("input_ids", "attention_mask")
    )
    outputs = [
        helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", "length", 16]),
        helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", 16]),
    ]
    weights.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "last"))
    graph = helper.make_graph(nodes, "two", [ids, mask], outputs, weights)
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(path))
