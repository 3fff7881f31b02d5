from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SuiteError, UnknownNameError
from harness.plan import BackendEntry, Catalog, Experiment, ModelCard, PassEntry, plan
from harness.schema import ModelSource
from harness.suite import ModelEntry, parse_suite

HEAD = """\
suite: s
experiments:
  - name: e
    model: net
"""


def takes(*names: str) -> PassEntry:
    def check(params: Mapping[str, object]) -> None:
        for name in params:
            if name not in names:
                raise ValueError(f"unknown parameter '{name}'")

    return PassEntry("module", check, lambda backend: None)


def lowered(only: str) -> PassEntry:
    return PassEntry("lowered", lambda params: None, lambda b: None if b == only else f"not on {b}")


CARDS = {
    "net": ModelCard("net", 0.01, lambda: None),
    "absent": ModelCard("absent", 0.01, lambda: "scikit-learn not installed"),
}


def cards(entry: ModelEntry, base: Path) -> ModelCard:
    if entry.onnx is not None:
        source = ModelSource("onnx", str(base / entry.onnx))
        return ModelCard(entry.name or "file", 0.01, lambda: None, "onnx", source)
    if entry.zoo not in CARDS:
        raise UnknownNameError("model", str(entry.zoo), CARDS)
    return CARDS[entry.zoo]


CATALOG = Catalog(
    model=cards,
    backends={
        "torch": BackendEntry(
            {"channels_last": (False, True), "note": ()},
            lambda interpreter, form: None if form == "torch" else "no torch module",
        ),
        "ort": BackendEntry({}, lambda interpreter, form: f"{interpreter} lacks ort" if interpreter else None),
        "vino": BackendEntry({}, lambda interpreter, form: "openvino not installed"),
    },
    passes={"prune": takes("amount"), "cast": takes(), "quantize": lowered("ort")},
    cores=2,
)


def planned(body: str = "", catalog: Catalog = CATALOG) -> list[Experiment]:
    return plan(parse_suite(HEAD + body, "s.yaml"), catalog)


def names(body: str) -> list[str]:
    [experiment] = planned(body)
    return [trial.name for trial in experiment.trials]


def complaint(body: str) -> str:
    with pytest.raises(SuiteError) as caught:
        planned(body)
    return str(caught.value)


def variants(*lines: str) -> str:
    return "    variants:\n" + "".join(f"      - {line}\n" for line in lines)


def test_the_baseline_comes_first() -> None:
    [experiment] = planned(variants("{backend: ort}"))
    assert experiment.baseline is experiment.trials[0]
    assert [(t.name, t.role) for t in experiment.trials] == [("torch", "baseline"), ("ort", "plain")]
    assert experiment.quality_margin == 0.01


def test_a_backends_plain_row_is_added_once_when_it_is_not_named() -> None:
    body = variants("{backend: ort, passes: [quantize]}", "{backend: ort, passes: [prune]}")
    [experiment] = planned(body)
    assert [(t.name, t.role) for t in experiment.trials] == [
        ("torch", "baseline"),
        ("ort", "plain"),
        ("ort+quantize", "variant"),
        ("ort+prune", "variant"),
    ]


def test_a_plain_row_that_is_named_is_not_added_again() -> None:
    assert names(variants("{name: mine, backend: ort}", "{backend: ort, passes: [prune]}")) == [
        "torch",
        "mine",
        "ort+prune",
    ]


def test_the_baselines_backend_needs_no_further_plain_row() -> None:
    assert names(variants("{backend: torch, passes: [prune]}")) == ["torch", "torch+prune"]


def test_a_baseline_with_passes_gets_its_plain_row_from_a_variant_of_its_backend() -> None:
    body = "    baseline: {name: base, backend: ort, passes: [prune]}\n" + variants("{backend: ort, passes: [cast]}")
    assert names(body) == ["base", "ort", "ort+cast"]


def test_a_plain_row_has_the_variants_interpreter_and_threads_but_not_its_options() -> None:
    body = variants("{name: v, backend: ort, passes: [prune], threads: 2, interpreter: /py}")
    [experiment] = planned(body)
    plain = experiment.trials[1]
    assert (plain.role, plain.threads, plain.interpreter, plain.options) == ("plain", 2, "/py", {})
    assert plain.unsupported == "/py lacks ort"


def test_added_plain_rows_of_one_backend_are_told_apart() -> None:
    body = variants(
        "{name: a, backend: torch, passes: [prune], threads: 2}",
        "{name: b, backend: torch, passes: [prune], interpreter: /old}",
        "{name: c, backend: torch, passes: [cast], interpreter: /old}",
        "{name: d, backend: ort, passes: [prune], threads: 2}",
    )
    assert names(body) == ["torch", "torch-t2", "torch-3", "ort", "a", "b", "c", "d"]


def test_a_variant_that_says_the_same_as_the_baseline_is_the_baseline() -> None:
    assert names(variants("{backend: torch}")) == ["torch"]


def test_a_repeat_of_the_baseline_with_a_name_of_its_own_is_kept() -> None:
    [experiment] = planned(variants("{name: again, backend: torch}"))
    baseline, again = experiment.trials
    assert again.name == "again"
    assert replace(again, name=baseline.name, role="baseline") == baseline


def test_backend_and_passes_axes_make_variants() -> None:
    body = "    matrix: {backend: [torch, ort], passes: {none: [], small: [{prune: {amount: 0.5}}]}}\n"
    assert names(body) == ["torch", "torch-small", "ort", "ort-small"]


def test_a_passes_axis_alone_uses_the_baselines_backend() -> None:
    assert names("    matrix: {passes: {small: [prune]}}\n") == ["torch", "torch-small"]


def test_threads_and_batch_size_axes_make_experiments_with_names() -> None:
    experiments = planned("    matrix: {threads: [1, 2], batch_size: [1, 8]}\n")
    assert [e.name for e in experiments] == ["e-t1-b1", "e-t1-b8", "e-t2-b1", "e-t2-b8"]
    assert [(e.baseline.threads, e.baseline.batch_size) for e in experiments] == [(1, 1), (1, 8), (2, 1), (2, 8)]
    assert all(t.experiment == e.name for e in experiments for t in e.trials)


def test_an_axis_of_one_value_adds_nothing_to_the_name() -> None:
    [experiment] = planned("    matrix: {threads: [2]}\n")
    assert (experiment.name, experiment.baseline.threads) == ("e", 2)


@given(st.sets(st.sampled_from(["torch", "ort", "vino"])), st.sets(st.integers(1, 4)), st.sets(st.integers(1, 64)))
def test_a_matrix_is_the_product_of_its_axes(backends: set[str], threads: set[int], batches: set[int]) -> None:
    body = f"    matrix: {{backend: {sorted(backends)}, threads: {sorted(threads)}, batch_size: {sorted(batches)}}}\n"
    experiments = planned(body)
    cells = {(e.baseline.threads, e.baseline.batch_size) for e in experiments}
    assert cells == {(t, b) for t in threads or {1} for b in batches or {1}}
    assert len({e.name for e in experiments}) == len(experiments)
    for experiment in experiments:
        assert {t.backend for t in experiment.trials} == backends | {"torch"}


def test_exclude_removes_experiments_and_variants() -> None:
    body = (
        "    matrix: {backend: [ort, vino], threads: [1, 2], batch_size: [1, 8]}\n"
        "    exclude: [{threads: 2, batch_size: 8}, {backend: vino, threads: 2}]\n"
    )
    found = {e.name: [t.name for t in e.trials] for e in planned(body)}
    assert found == {
        "e-t1-b1": ["torch", "ort", "vino"],
        "e-t1-b8": ["torch", "ort", "vino"],
        "e-t2-b1": ["torch", "ort"],
    }


def test_exclude_knows_passes_by_their_label() -> None:
    body = "    matrix: {backend: [torch, ort], passes: {q: [quantize]}}\n    exclude: [{backend: torch, passes: q}]\n"
    assert names(body) == ["torch", "ort", "ort-q"]


def test_an_exclude_that_leaves_nothing_is_refused() -> None:
    assert complaint("    exclude: [{threads: 1}]\n") == "s.yaml:5: exclude leaves nothing of experiment 'e'"


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        (variants("{backend: torhc}"), 6, "unknown backend 'torhc'; did you mean 'torch'?"),
        ("    baseline:\n      backend: otr\n", 6, "unknown backend 'otr'; did you mean 'ort'?"),
        ("    matrix:\n      backend:\n        - ort\n        - vinoo\n", 8, "did you mean 'vino'?"),
        (variants("backend: ort\n        passes:\n          - prune\n          - quantise"), 9, "mean 'quantize'?"),
        ("    matrix:\n      passes:\n        a:\n          - prun\n", 8, "unknown pass 'prun'; did you mean 'prune'?"),
        (
            variants("backend: torch\n        options:\n          channel_last: true"),
            8,
            "backend 'torch' has no option 'channel_last'; did you mean 'channels_last'?",
        ),
        (
            variants("backend: torch\n        options:\n          channels_last: maybe"),
            8,
            "torch takes channels_last: False, True, not 'maybe'",
        ),
        (variants("backend: ort\n        passes:\n          - prune: {amuont: 1}"), 8, "prune: unknown parameter"),
        (
            variants("backend: ort\n        passes:\n          - quantize\n          - prune"),
            9,
            "'prune' changes the module, so it must come before 'quantize'",
        ),
    ],
)
def test_what_does_not_exist_is_refused_at_its_line(body: str, line: int, message: str) -> None:
    found = complaint(body)
    assert found.startswith(f"s.yaml:{line}: ")
    assert message in found


def test_an_unknown_model_is_refused_at_its_line() -> None:
    with pytest.raises(SuiteError, match=r"s\.yaml:4: unknown model 'nett'; did you mean 'net'\?"):
        plan(parse_suite(HEAD.replace("net", "nett"), "s.yaml"), CATALOG)


def test_an_option_without_listed_values_takes_any() -> None:
    [experiment] = planned(variants("{name: v, backend: torch, options: {note: 17}}"))
    assert experiment.trials[1].options == {"note": 17}


def test_an_unavailable_backend_keeps_its_trials_with_the_reason() -> None:
    [experiment] = planned(variants("{backend: vino, passes: [prune]}"))
    assert [(t.name, t.unsupported) for t in experiment.trials] == [
        ("torch", None),
        ("vino", "openvino not installed"),
        ("vino+prune", "openvino not installed"),
    ]


def test_a_pass_that_a_backend_lacks_keeps_its_trial_with_the_reason() -> None:
    [experiment] = planned(variants("{backend: torch, passes: [quantize]}"))
    assert experiment.trials[1].unsupported == "not on torch"


def test_a_model_that_lacks_a_package_makes_every_trial_unsupported() -> None:
    suite = parse_suite(HEAD.replace("net", "absent"), "s.yaml")
    [experiment] = plan(suite, CATALOG)
    assert [t.unsupported for t in experiment.trials] == ["scikit-learn not installed"]


def test_more_threads_than_cores_are_unsupported() -> None:
    few, many = planned("    matrix: {threads: [2, 3]}\n")
    assert few.baseline.unsupported is None
    assert many.baseline.unsupported == "asks for 3 threads, this host has 2 cores"


def test_two_variants_of_one_name_are_refused() -> None:
    body = variants("{name: a, backend: ort}", "{name: a, backend: torch, passes: [prune]}")
    assert complaint(body) == "s.yaml:5: two variants of 'e' are called 'a'; give one another name"


def test_two_experiments_of_one_name_are_refused() -> None:
    assert complaint("  - name: e\n    model: net\n") == "s.yaml:2: two experiments are called 'e'; rename one"


def test_an_experiments_own_settings_come_before_the_suites() -> None:
    text = "seed: 7\nmeasure: {rounds: 9}\n" + HEAD + "    quality_margin: 0.2\n    measure: {rounds: 11}\n"
    [own] = plan(parse_suite(text, "s.yaml"), CATALOG)
    assert (own.measure.rounds, own.quality_margin, own.seed) == (11, 0.2, 7)
    [shared] = plan(parse_suite("measure: {rounds: 9}\n" + HEAD, "s.yaml"), CATALOG)
    assert shared.measure.rounds == 9


def test_a_row_with_options_does_not_stand_in_for_the_plain_row() -> None:
    body = "    baseline: {name: nhwc, backend: torch, options: {channels_last: true}}\n"
    body += variants("{name: pruned, backend: torch, passes: [prune]}")
    assert names(body) == ["nhwc", "torch", "pruned"]


ONNX = """\
suite: s
experiments:
  - name: e
    model: {onnx: some.onnx}
    variants:
      - {name: int8, backend: ort, passes: [quantize]}
      - {name: pruned, backend: ort, passes: [prune]}
      - {name: eager, backend: torch}
    baseline: {backend: ort}
"""


def test_an_onnx_file_takes_no_torch_passes_and_no_torch_backend() -> None:
    [experiment] = plan(parse_suite(ONNX, "s.yaml"), CATALOG)
    reasons = {t.name: t.unsupported for t in experiment.trials}
    assert reasons == {
        "ort": None,
        "int8": None,
        "pruned": "prune changes a torch module, and file is an ONNX file",
        "eager": "no torch module",
    }


def test_a_model_of_the_users_own_is_carried_by_every_trial_with_its_place() -> None:
    [experiment] = plan(parse_suite(ONNX, "/data/s.yaml"), CATALOG)
    assert experiment.model == "file"
    assert {t.source for t in experiment.trials} == {ModelSource("onnx", "/data/some.onnx")}


@pytest.mark.parametrize(
    ("rule", "line", "message"),
    [
        ("{backend: otr}", 6, "exclude: backend of the matrix never is 'otr'; did you mean 'ort'?"),
        ("{threads: 4}", 6, "exclude: threads of the matrix never is '4'"),
        ("{passes: prune}", 6, "exclude: passes of the matrix never is 'prune'"),
    ],
)
def test_an_exclude_rule_that_matches_nothing_is_refused_at_its_line(rule: str, line: int, message: str) -> None:
    found = complaint(f"    matrix: {{backend: [torch, ort], threads: [1, 2]}}\n    exclude: [{rule}]\n")
    assert found.startswith(f"s.yaml:{line}: ")
    assert message in found


def test_a_call_of_multi_stream_is_one_query_and_the_load_test_travels_with_the_experiment() -> None:
    [experiment] = planned("    workload: multi-stream\n    load: {samples_per_query: 4}\n")
    assert {trial.batch_size for trial in experiment.trials} == {4}
    assert experiment.load is not None
    assert experiment.load.samples_per_query == 4
    [experiment] = planned("    batch_size: 16\n    load: {}\n")
    assert experiment.baseline.batch_size == 16
    assert planned()[0].load is None
