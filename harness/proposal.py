"""From a model to a suite that tries what is sensible for it here. Pure: text out, nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.blocks import turn_s
from harness.schema import InputSpec
from harness.suite import SYNTHETIC, Measure, ModelEntry

REPLICATES = 5
MOST_ROUNDS, FEWEST_ROUNDS = 20, 4
TURN_S = 0.042  # a block of the default length with its untimed start
EVALUATION_S = 4.0  # of running all synthetic examples through one variant
FEWEST_EXAMPLES = 32

CONSTANT_WEIGHTS = "onnx.constant-weights"

# What is tried, by the model's form: name, backend, passes, options. The first row of a form is the baseline.
_Row = tuple[str | None, str, tuple[str, ...], dict[str, Any]]
_ONNX_RUNTIME: tuple[_Row, ...] = (
    ("onnxruntime-static-int8", "onnxruntime", ("quantize.static-int8",), {}),
    ("onnxruntime-dynamic-int8", "onnxruntime", ("quantize.dynamic-int8",), {}),
    ("onnxruntime-weight-only-int8", "onnxruntime", ("quantize.weight-only-int8",), {}),
)
_OPENVINO: tuple[_Row, ...] = (
    ("openvino-bf16", "openvino", (), {"precision": "bf16"}),
    ("openvino-static-int8", "openvino", ("quantize.static-int8",), {}),
    ("openvino-weight-only-int8", "openvino", ("quantize.weight-only-int8",), {}),
)
VARIANTS: dict[str, tuple[_Row, ...]] = {
    "torch": (
        (None, "torch", (), {}),
        ("torch-bf16", "torch", ("cast.bfloat16",), {}),
        ("torch-dynamic-int8", "torch", ("quantize.dynamic-int8",), {}),
        (None, "inductor", (), {}),
        ("inductor-static-int8", "inductor", ("quantize.static-int8",), {}),
        (None, "onnxruntime", (), {}),
        *_ONNX_RUNTIME,
        (None, "openvino", (), {}),
        *_OPENVINO,
    ),
    "onnx": (
        (None, "onnxruntime", (), {}),
        *_ONNX_RUNTIME,
        (None, "openvino", (), {}),
        *_OPENVINO,
    ),
}


@dataclass(frozen=True)
class Request:
    """What the user asked for on the command line."""

    batch_size: int
    threads: int
    budget_s: float


@dataclass(frozen=True)
class Subject:
    """The model to try.

    Attributes:
        model: what stands after ``model:`` in the suite.
        call_s: about how long a call lasts, to keep a slow model within the budget; None when not known.
        replaceable_weights: whether an ONNX file lists weights among its inputs.
    """

    name: str
    form: str
    model: str | dict[str, Any]
    call_s: float | None = None
    replaceable_weights: bool = False


@dataclass(frozen=True)
class Proposal:
    """A suite as YAML text, and what was left out of it: backend → reason."""

    text: str
    left_out: dict[str, str]


def propose(subject: Subject, request: Request, unavailable: Callable[[str], str | None]) -> Proposal:
    """Return a suite with every variant that can run here.

    ``unavailable`` maps a backend to why it cannot be used here, or None.
    """
    rows = _rows(subject)
    left_out = {backend: reason for backend in {row[1] for row in rows} if (reason := unavailable(backend))}
    baseline, *variants = [_variant(row) for row in rows if row[1] not in left_out or row is rows[0]]
    experiment: dict[str, Any] = {"name": subject.name, "model": subject.model}
    if request.batch_size == 1:
        experiment["workload"] = "single-stream"
    experiment |= {
        "batch_size": request.batch_size,
        "threads": request.threads,
        "baseline": baseline,
        "variants": variants,
    }
    document = {
        "suite": f"try-{subject.name}"[:80],
        "description": f"what harness try found sensible for {subject.name}",
        "measure": _measure(subject.call_s, len(variants) + 1, request.budget_s),
        "experiments": [experiment],
    }
    text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    return Proposal(text, dict(sorted(left_out.items())))


def _rows(subject: Subject) -> tuple[_Row, ...]:
    rows = VARIANTS[subject.form]
    if not subject.replaceable_weights:
        return rows
    first, *others = rows
    constant: _Row = ("onnxruntime-constant-weights", "onnxruntime", (CONSTANT_WEIGHTS,), {})
    # INT8 makes constants of the weights as well: its rows say so, and are to be read against this one.
    return (first, constant, *((n, b, (CONSTANT_WEIGHTS, *p) if p else p, o) for n, b, p, o in others))


def model_yaml(entry: ModelEntry, inputs: Sequence[InputSpec], call_s: float) -> str | dict[str, Any]:
    """Return what stands after ``model:``: the user's entry with the inputs that were found.

    A model whose calls are slow gets fewer synthetic examples.
    """
    if entry.zoo is not None:
        return entry.zoo
    document: dict[str, Any] = {"onnx": entry.onnx} if entry.onnx is not None else {"python": entry.python}
    if entry.name is not None:
        document["name"] = entry.name
    if inputs:
        document["inputs"] = {spec.name: _input_yaml(spec) for spec in inputs}
    if entry.data != SYNTHETIC:
        document["data"] = entry.data
    else:
        affordable = max(FEWEST_EXAMPLES, int(EVALUATION_S / call_s)) if call_s > 0 else entry.examples
        if affordable < entry.examples or "examples" in entry.model_fields_set:
            document["examples"] = min(affordable, entry.examples)
    if entry.metric:
        document["metric"] = entry.metric
    return document


def _input_yaml(spec: InputSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"shape": list(spec.shape), "dtype": spec.dtype}
    if spec.low is not None:
        document |= {"low": spec.low, "high": spec.high}
    return document


def _variant(row: _Row) -> dict[str, Any]:
    name, backend, passes, options = row
    document: dict[str, Any] = {} if name is None else {"name": name}
    document["backend"] = backend
    if passes:
        document["passes"] = list(passes)
    if options:
        document["options"] = options
    return document


def _measure(call_s: float | None, trials: int, budget_s: float) -> dict[str, Any]:
    """Return measuring settings that keep the least that is always taken near the budget."""
    turn = max(TURN_S, turn_s(call_s or 0.0, Measure().block_s))
    rounds = int(budget_s / (REPLICATES * trials * turn))
    return {
        "replicates": REPLICATES,
        "rounds": max(FEWEST_ROUNDS, min(MOST_ROUNDS, rounds)),
        "budget_s": budget_s,
    }
