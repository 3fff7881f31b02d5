from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.backends import BACKENDS
from harness.passes import PASSES
from harness.proposal import CONSTANT_WEIGHTS, REPLICATES, VARIANTS, Proposal, Request, Subject, model_yaml, propose
from harness.schema import InputSpec
from harness.suite import ModelEntry, SuiteFile, parse_suite

TORCH = Subject("mine", "torch", {"python": "net.py:make"})
ONNX = Subject("graph", "onnx", {"onnx": "graph.onnx"})
REQUEST = Request(batch_size=1, threads=1, budget_s=60.0)


def everything(backend: str) -> str | None:
    return None


def without(*backends: str) -> Any:
    return lambda backend: f"{backend} not installed" if backend in backends else None


def read(proposal: Proposal) -> SuiteFile:
    return parse_suite(proposal.text, "try.yaml").spec


def spec(subject: Subject, request: Request = REQUEST) -> SuiteFile:
    return read(propose(subject, request, everything))


def labels(subject: Subject, unavailable: Any = everything) -> list[str]:
    [experiment] = read(propose(subject, REQUEST, unavailable)).experiments
    assert experiment.baseline is not None
    return [experiment.baseline.label, *(v.label for v in experiment.variants)]


SUBJECTS = st.builds(
    Subject,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+\-]{0,78}", fullmatch=True),
    form=st.sampled_from(sorted(VARIANTS)),
    model=st.sampled_from(["zoo-name", {"python": "a b.py:make"}, {"onnx": "é: {x}.onnx"}]),
    call_s=st.none() | st.floats(1e-9, 1e4),
    replaceable_weights=st.just(False),
)
REQUESTS = st.builds(Request, st.integers(1, 512), st.integers(1, 64), st.floats(1, 1e5))


@given(SUBJECTS, REQUESTS, st.sets(st.sampled_from(["torch", "inductor", "onnxruntime", "openvino"])))
def test_every_proposal_is_a_valid_suite(subject: Subject, request: Request, missing: set[str]) -> None:
    found = read(propose(subject, request, without(*missing)))
    [experiment] = found.experiments
    assert (experiment.name, experiment.batch_size, experiment.threads) == (
        subject.name,
        request.batch_size,
        request.threads,
    )
    assert found.measure.budget_s == request.budget_s
    assert found.measure.replicates * found.measure.rounds >= 20


@pytest.mark.parametrize(("subject", "first"), [(TORCH, "torch"), (ONNX, "onnxruntime")])
def test_the_unoptimized_model_is_the_baseline(subject: Subject, first: str) -> None:
    assert labels(subject)[0] == first
    assert len(labels(subject)) == len(VARIANTS[subject.form])


def test_every_row_names_a_backend_and_passes_that_exist_and_go_together() -> None:
    for form, rows in VARIANTS.items():
        for _, backend, passes, options in rows:
            assert form in BACKENDS.get(backend).forms
            assert set(options) <= set(BACKENDS.get(backend).options)
            for name in passes:
                assert not PASSES.get(name).unsupported_on(backend)
                assert form == "torch" or PASSES.get(name).form == "lowered"


def test_a_backend_that_is_not_available_is_left_out_with_its_reason() -> None:
    proposal = propose(TORCH, REQUEST, without("openvino", "inductor"))
    assert proposal.left_out == {"inductor": "inductor not installed", "openvino": "openvino not installed"}
    assert labels(TORCH, without("openvino", "inductor")) == [
        "torch",
        "torch-bf16",
        "torch-dynamic-int8",
        "onnxruntime",
        "onnxruntime-static-int8",
        "onnxruntime-dynamic-int8",
        "onnxruntime-weight-only-int8",
    ]


def test_a_backend_that_the_form_does_not_use_is_not_mentioned() -> None:
    assert propose(ONNX, REQUEST, without("torch")).left_out == {}


def test_the_baseline_stays_even_when_its_backend_is_not_available() -> None:
    assert labels(ONNX, without("onnxruntime", "openvino")) == ["onnxruntime"]


def test_one_example_at_a_time_is_a_single_stream_and_more_are_offline() -> None:
    assert spec(TORCH).experiments[0].workload == "single-stream"
    assert spec(TORCH, replace(REQUEST, batch_size=8)).experiments[0].workload == "offline"


def test_a_slow_model_gets_fewer_rounds_but_never_too_few() -> None:
    fast, slow, slowest = (spec(replace(TORCH, call_s=call_s)).measure for call_s in (0.001, 0.01, 10.0))
    assert fast.rounds > slow.rounds > slowest.rounds
    assert slowest.rounds * slowest.replicates >= 20


@given(st.floats(1e-6, 100), st.floats(1e-6, 100), st.floats(1, 1e4), st.floats(1, 1e4))
def test_rounds_grow_with_the_budget_and_fall_with_the_time_of_a_call(a: float, b: float, c: float, d: float) -> None:
    def rounds(call_s: float, budget_s: float) -> int:
        return spec(replace(ONNX, call_s=call_s), replace(REQUEST, budget_s=budget_s)).measure.rounds

    assert rounds(min(a, b), c) >= rounds(max(a, b), c)
    assert rounds(a, max(c, d)) >= rounds(a, min(c, d))


def test_a_model_of_unknown_speed_is_taken_for_a_fast_one() -> None:
    assert spec(TORCH).measure == spec(replace(TORCH, call_s=1e-5)).measure
    assert spec(TORCH).measure.replicates == REPLICATES


def test_replaceable_weights_add_their_row_and_int8_is_read_against_it() -> None:
    [experiment] = spec(replace(ONNX, replaceable_weights=True)).experiments
    chains = {v.label: [p.name for p in v.passes] for v in experiment.variants}
    assert next(iter(chains)) == "onnxruntime-constant-weights"  # right after the baseline
    assert chains == {
        "onnxruntime-constant-weights": [CONSTANT_WEIGHTS],
        "onnxruntime-static-int8": [CONSTANT_WEIGHTS, "quantize.static-int8"],
        "onnxruntime-dynamic-int8": [CONSTANT_WEIGHTS, "quantize.dynamic-int8"],
        "onnxruntime-weight-only-int8": [CONSTANT_WEIGHTS, "quantize.weight-only-int8"],
        "openvino": [],
        "openvino-bf16": [],
        "openvino-static-int8": [CONSTANT_WEIGHTS, "quantize.static-int8"],
        "openvino-weight-only-int8": [CONSTANT_WEIGHTS, "quantize.weight-only-int8"],
    }
    assert experiment.baseline is not None
    assert experiment.baseline.passes == ()


def test_the_names_of_all_rows_differ() -> None:
    for subject in (TORCH, ONNX, replace(ONNX, replaceable_weights=True)):
        assert len(set(labels(subject))) == len(labels(subject))


def test_a_very_long_name_still_makes_a_suite() -> None:
    assert len(spec(replace(TORCH, name="x" * 80)).suite) == 80


# -- the model's own entry ---------------------------------------------------------------------------------------

X = InputSpec("image", "float32", ("batch", 3, 8, 8))
IDS = InputSpec("ids", "int64", (1, 5), 0, 30522)


def rewritten(entry: ModelEntry, *inputs: InputSpec, call_s: float = 0.001) -> ModelEntry:
    """Return the entry as a reader of the proposed suite gets it."""
    subject = Subject("m", "onnx", model_yaml(entry, inputs, call_s))
    return spec(subject).experiments[0].model


def test_a_model_of_the_zoo_stays_a_name() -> None:
    assert model_yaml(ModelEntry(zoo="digits-cnn"), (), 0.1) == "digits-cnn"


def test_the_inputs_that_were_found_are_written_down() -> None:
    found = rewritten(ModelEntry(onnx="m.onnx"), X, IDS)
    assert found.onnx == "m.onnx"
    assert [(n, i.shape, i.dtype, i.low, i.high) for n, i in found.inputs.items()] == [
        ("image", ("batch", 3, 8, 8), "float32", None, None),
        ("ids", (1, 5), "int64", 0, 30522),
    ]


def test_the_users_data_and_metric_are_kept() -> None:
    entry = ModelEntry(python="net.py:make", data="net.py:data", metric="top1-agreement")
    found = rewritten(entry, call_s=100.0)
    assert (found.python, found.data, found.metric) == ("net.py:make", "net.py:data", "top1-agreement")
    assert "examples" not in found.model_fields_set


def test_a_slow_model_gets_fewer_synthetic_examples_but_not_less_than_32() -> None:
    entry = ModelEntry(onnx="m.onnx")
    counts = [rewritten(entry, call_s=call_s).examples for call_s in (0.001, 0.05, 1.0)]
    assert counts == [400, 80, 32]


def test_examples_that_the_user_asked_for_are_never_raised_and_survive() -> None:
    entry = ModelEntry(onnx="m.onnx", examples=16)
    assert rewritten(entry, call_s=0.001).examples == 16
    assert rewritten(entry, call_s=10.0).examples == 16


def test_a_name_that_the_user_gave_is_kept() -> None:
    assert rewritten(ModelEntry(onnx="m.onnx", name="mine")).name == "mine"


def test_the_text_reads_well() -> None:
    text = propose(TORCH, REQUEST, everything).text
    assert all(len(line) <= 120 for line in text.splitlines())
    assert list(yaml.safe_load(text)) == ["suite", "description", "measure", "experiments"]
