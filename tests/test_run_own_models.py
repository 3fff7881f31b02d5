"""Whole runs of models of the user's own through real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.catalog import catalog
from harness.events import Built, Event
from harness.plan import plan
from harness.runner import Runner, RunOptions
from harness.schema import Memory, Quality, Record, Status, Timing, Unmeasured
from harness.store import read_run
from harness.suite import parse_suite

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

MEASURE = "measure: {replicates: 1, max_replicates: 1, rounds: 20, budget_s: 5, block_s: 0.005}\n"
NET = """
import os
import sys
from pathlib import Path

with open(Path(__file__).parent / "imports.log", "a") as log:
    print(" ".join(sys.argv[1:]), "torch" if "torch" in sys.modules else "no-torch", file=log)

import numpy as np
import torch
from layers_beside import Scaled

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(16, 10)
        self.second = Scaled()

    def forward(self, x):
        return self.second(self.first(x)).softmax(1)

def net(seed):
    torch.manual_seed(seed)
    return Net(), torch.zeros(1, 16)

def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 16)), rng.integers(0, 10, 40)
"""
LAYERS = """
import torch

class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not wait for a measurement that runs on this host."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def run(
    folder: Path, experiments: str, name: str = "results", on_event: Callable[[Event], None] = lambda _: None
) -> Path:
    suite = parse_suite("suite: own\n" + MEASURE + "experiments:\n" + experiments, str(folder / "suite.yaml"))
    options = RunOptions(folder / name, folder / "cache")
    return Runner(options, on_event).run("own", 0, plan(suite, catalog()))


def records(directory: Path) -> dict[tuple[str, str], Record]:
    return {(r.trial.experiment, r.trial.name): r for r in read_run(directory).records}


def test_a_torch_model_from_a_file_is_measured_on_two_backends(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "layers_beside.py").write_text(LAYERS)
    directory = run(
        tmp_path,
        "  - name: plain\n"
        "    model: {python: 'net.py:net'}\n"
        "    batch_size: 4\n"
        "    variants: [{backend: onnxruntime}]\n"
        "  - name: labeled\n"
        "    model: {python: 'net.py:net', data: 'net.py:data'}\n",
    )
    found = records(directory)
    assert set(found) == {("plain", "torch"), ("plain", "onnxruntime"), ("labeled", "torch")}
    for record in found.values():
        assert record.status is Status.OK, record.reason
        assert record.trial.model == "net.net"
        assert record.trial.source is not None
        assert record.trial.source.target == f"{tmp_path / 'net.py'}:net"
        assert isinstance(record.timing, Timing)
        assert isinstance(record.memory, Memory)

    qualities = {name: record.quality for name, record in found.items()}
    assert all(isinstance(quality, Quality) for quality in qualities.values())
    said = {name: (q.metric, q.data, q.n) for name, q in qualities.items() if isinstance(q, Quality)}
    assert said == {
        ("plain", "torch"): ("top1-agreement", "synthetic", 400),
        ("plain", "onnxruntime"): ("top1-agreement", "synthetic", 400),
        ("labeled", "torch"): ("accuracy", "test", 30),  # ten of forty are kept for calibration
    }
    baseline = qualities["plain", "torch"]
    assert isinstance(baseline, Quality)
    assert baseline.value == 1.0

    # Only a pickled module needs the user's code where it is measured.
    imports = (tmp_path / "imports.log").read_text().splitlines()
    measured = [line for line in imports if "--role measure" in line]
    assert measured
    assert all(line.endswith(" torch") for line in measured)  # the onnxruntime worker has none
    torch_, runtime = (found["plain", name].memory for name in ("torch", "onnxruntime"))
    assert isinstance(torch_, Memory)
    assert isinstance(runtime, Memory)
    assert runtime.floor_bytes < torch_.floor_bytes

    frame = harness.load(directory).set_index(["experiment", "trial"])
    assert frame.loc[("plain", "onnxruntime"), "quality_metric"] == "top1-agreement"


def two_inputs(path: Path, scale: float = 1.0) -> Path:
    from tests.tiny_onnx import INT64, node, save, tensor

    nodes = [node("Gather", "table ids", "looked"), node("ReduceMean", "looked", "m", axes=[1], keepdims=0)]
    nodes.append(node("Add", "m x", "y"))
    table = np.linspace(-1, 1, 77, dtype=np.float32).reshape(11, 7) * np.float32(scale)
    inputs = [tensor("ids", ["N", "length"], INT64), tensor("x", ["N", 7])]
    return save(path, nodes, inputs, [tensor("y", ["N", 7])], table=table)


def test_an_onnx_file_with_two_inputs_is_measured_and_measured_anew_when_it_changes(tmp_path: Path) -> None:
    experiment = (
        "  - name: e\n"
        "    model:\n"
        "      onnx: graph.onnx\n"
        "      inputs: {ids: {shape: [batch, 9]}}\n"
        "      data: arrays\n"
        "    batch_size: 4\n"
    )
    two_inputs(tmp_path / "graph.onnx")
    (tmp_path / "arrays").mkdir()
    rng = np.random.default_rng(0)
    ids, x = rng.integers(0, 11, (30, 9)), rng.normal(size=(30, 7)).astype(np.float32)
    np.savez(tmp_path / "arrays" / "test.npz", ids=ids, x=x)
    np.savez(tmp_path / "arrays" / "calibration.npz", ids=ids[:5], x=x[:5])

    events: list[Event] = []
    [record] = records(run(tmp_path, experiment, "first", events.append)).values()
    assert record.status is Status.OK, record.reason
    assert (record.trial.name, record.trial.model) == ("onnxruntime", "graph")
    assert isinstance(record.quality, Quality)
    assert (record.quality.metric, record.quality.data) == ("cosine-agreement", "unlabeled")
    assert (record.quality.n, record.quality.value) == (30, pytest.approx(1.0))
    assert isinstance(record.artifact, harness.schema.Artifact)
    assert record.artifact.parameters is None

    run(tmp_path, experiment, "again", events.append)
    two_inputs(tmp_path / "graph.onnx", scale=3.0)
    [edited] = records(run(tmp_path, experiment, "edited", events.append)).values()
    assert [event.cached for event in events if isinstance(event, Built)] == [False, True, False]
    assert edited.status is Status.OK, edited.reason
    assert isinstance(edited.quality, Quality)
    assert not edited.quality.cached
    assert edited.quality.value == pytest.approx(1.0)  # judged by the edited model, not by the first


def test_a_model_that_fails_is_a_record_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    directory = run(tmp_path, "  - name: e\n    model: {python: 'broken.py:net'}\n")
    [record] = records(directory).values()
    assert record.status is Status.FAILED
    assert record.reason == (f"{tmp_path / 'broken.py'}:1: ModuleNotFoundError: No module named 'no_such_module_here'")
    assert isinstance(record.quality, Unmeasured)


def test_outputs_that_cannot_be_compared_leave_quality_unmeasured_with_the_reason(tmp_path: Path) -> None:
    from tests.tiny_onnx import node, save, tensor

    nodes = [node("ReduceSum", "x", "y", keepdims=0)]
    save(tmp_path / "sum.onnx", nodes, [tensor("x", ["N", 4])], [tensor("y", [])])
    inputs = "inputs: {x: {shape: [batch, 4]}}"
    directory = run(tmp_path, f"  - name: e\n    model: {{onnx: sum.onnx, {inputs}}}\n    batch_size: 2\n")
    [record] = records(directory).values()
    assert record.status is Status.OK, record.reason
    assert record.quality == Unmeasured("the outputs have no axis that counts the examples")
    assert isinstance(record.timing, Timing)
    assert len(harness.load(directory)) == 1
