from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SuiteError
from harness.schema import PassSpec
from harness.suite import Load, SuiteFile, parse_suite, read_suite

HEAD = """\
suite: s
experiments:
  - name: e
    model: m
"""


def parse(text: str) -> SuiteFile:
    return parse_suite(text, "s.yaml").spec


def complaint(text: str) -> str:
    with pytest.raises(SuiteError) as caught:
        parse(text)
    return str(caught.value)


def test_the_smallest_suite_has_a_torch_baseline_and_the_defaults() -> None:
    [experiment] = parse(HEAD).experiments
    assert experiment.baseline is None  # the plan puts the unoptimized model in
    assert (experiment.workload, experiment.batch_size, experiment.threads) == ("offline", 1, 1)
    assert experiment.variants == ()
    assert experiment.measure is None


@pytest.mark.parametrize(
    ("text", "line", "key", "hint"),
    [
        (HEAD + "sed: 1\n", 5, "sed", "did you mean 'seed'?"),
        (HEAD + "measure: {rouns: 8}\n", 5, "rouns", "did you mean 'rounds'? in measure"),
        (HEAD + "    modle: m\n", 5, "modle", "did you mean 'model'? in experiments.0"),
        (HEAD + "    baseline:\n      bakend: torch\n", 6, "bakend", "did you mean 'backend'?"),
        (HEAD + "    variants:\n      - backend: torch\n        pases: []\n", 7, "pases", "did you mean 'passes'?"),
        (HEAD + "    matrix:\n      treads: [1]\n", 6, "treads", "did you mean 'threads'?"),
        (HEAD + "    measure:\n      margn: 0.1\n", 6, "margn", "did you mean 'margin'?"),
        (HEAD + "1: 2\n", 5, "1", "known: description, experiments, measure, profiles, seed, suite"),
    ],
)
def test_an_unknown_key_at_any_level_names_file_line_and_the_closest_key(
    text: str, line: int, key: str, hint: str
) -> None:
    message = complaint(text)
    assert message.startswith(f"s.yaml:{line}: unknown key '{key}'")
    assert hint in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("suite: s\n", "s.yaml:1: 'experiments' is missing"),
        ("experiments:\n  - name: e\n    model: m\n", "s.yaml:1: 'suite' is missing"),
        ("suite: s\nexperiments:\n  - name: e\n", "s.yaml:3: 'experiments.0.model' is missing"),
        (HEAD + "    variants:\n      - name: a\n", "s.yaml:6: 'experiments.0.variants.0.backend' is missing"),
    ],
)
def test_a_missing_key_is_named_with_the_line_of_its_parent(text: str, expected: str) -> None:
    assert complaint(text) == expected


@pytest.mark.parametrize(
    ("text", "start", "shown"),
    [
        (HEAD + "    threads: many\n", "s.yaml:5: experiments.0.threads: ", "got 'many'"),
        (HEAD + "    threads: 0\n", "s.yaml:5: experiments.0.threads: ", "got 0"),
        (
            HEAD + "    workload: online\n",
            "s.yaml:5: experiments.0.workload: ",
            "'offline', 'single-stream', 'server' or 'multi-stream'",
        ),
        (HEAD + "    variants: [torch]\n", "s.yaml:5: experiments.0.variants.0: ", "got 'torch'"),
        (HEAD + "    matrix: {passes: {a b: []}}\n", "s.yaml:5: experiments.0.matrix.passes.a b: ", "got 'a b'"),
        ("suite: 1\nexperiments: [{name: e, model: m}]\n", "s.yaml:1: suite: ", "got 1"),
        ("suite: no good\nexperiments: [{name: e, model: m}]\n", "s.yaml:1: suite: ", "got 'no good'"),
        ("suite: s\nexperiments: []\n", "s.yaml:2: experiments: ", "at least 1"),
        ("- a\n- b\n", "s.yaml:1: ", "dictionary"),
    ],
)
def test_a_wrong_value_is_shown_with_its_place(text: str, start: str, shown: str) -> None:
    message = complaint(text)
    assert message.startswith(start)
    assert shown in message


@pytest.mark.parametrize(
    "line",
    ["measure: {budget_s: .inf}", "measure: {stage_timeout_s: .inf}", "measure: {build_timeout_s: 1.0e+12}"],
)
def test_a_time_without_end_is_refused(line: str) -> None:
    # A worker's poll overflows on it, and run.json would not be JSON.
    assert complaint(f"{line}\n{HEAD}").startswith("s.yaml:1: measure.")
    assert complaint(HEAD + "    quality_margin: .inf\n").startswith("s.yaml:5: experiments.0.quality_margin: ")


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    assert complaint(HEAD + "    model: n\n") == "s.yaml:5: key 'model' stands twice, first in line 4; remove one"


@pytest.mark.parametrize(
    ("text", "line"),
    [("suite: s\nexperiments: [\n", 3), ("suite: s\n a: b\n", 2), ("suite: s\n---\nsuite: t\n", 2)],
)
def test_invalid_yaml_is_refused_with_its_line(text: str, line: int) -> None:
    assert complaint(text).startswith(f"s.yaml:{line}: is not valid YAML")


@pytest.mark.parametrize("text", ["suite: a\x07\n", "suite: 2026-13-45\n", "suite: &again [*again]\n"])
def test_a_text_that_the_parser_chokes_on_is_invalid_yaml_and_no_crash(text: str) -> None:
    assert complaint(text).startswith("s.yaml: is not valid YAML")


def test_a_template_left_unfilled_is_refused_with_its_line() -> None:
    assert complaint("seed: 1\nsuite: {{ name }}\n").startswith("s.yaml:2: a key must be plain text")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_says_what_a_suite_needs(text: str) -> None:
    assert complaint(text) == "s.yaml: is empty; a suite needs the keys 'suite' and 'experiments'"


def test_passes_are_written_as_names_or_with_parameters() -> None:
    text = HEAD + "    variants:\n      - {backend: torch, passes: [a, {b: }, {c: {x: 1, y: two}}]}\n"
    [variant] = parse(text).experiments[0].variants
    assert variant.passes == (PassSpec("a"), PassSpec("b"), PassSpec("c", {"x": 1, "y": "two"}))
    assert variant.label == "torch+a+b+c"


@pytest.mark.parametrize("written", ["1", "[a]", "{a: 1}", "{a: {x: 1}, b: {y: 2}}", "{}"])
def test_a_pass_in_any_other_form_is_refused_with_the_right_forms(written: str) -> None:
    message = complaint(HEAD + f"    variants:\n      - backend: torch\n        passes:\n          - {written}\n")
    assert "a pass is written 'name' or 'name: {parameter: value}'" in message
    assert message.startswith("s.yaml:8: ")


def test_a_matrix_keeps_the_order_of_its_axes() -> None:
    text = HEAD + "    matrix: {backend: [b, a], passes: {z: [p], y: []}, threads: [2, 1], batch_size: [8]}\n"
    matrix = parse(text).experiments[0].matrix
    assert matrix.backend == ("b", "a")
    assert list(matrix.passes) == ["z", "y"]
    assert (matrix.threads, matrix.batch_size) == ((2, 1), (8,))


def test_exclude_with_an_unknown_axis_suggests_the_closest() -> None:
    message = complaint(HEAD + "    exclude:\n      - {bakend: torch}\n")
    assert message.startswith("s.yaml:")
    assert "unknown axis 'bakend'; did you mean 'backend'?" in message


def test_fewer_replicates_at_most_than_at_least_are_refused() -> None:
    message = complaint("measure: {max_replicates: 2}\n" + HEAD)
    assert message == "s.yaml:1: measure: max_replicates (2) is below replicates (5); raise it"


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_measure_needs_at_least_twenty_rounds_in_all(replicates: int, rounds: int) -> None:
    text = f"measure: {{replicates: {replicates}, max_replicates: 30, rounds: {rounds}}}\n" + HEAD
    if replicates * rounds >= 20:
        assert parse(text).measure.rounds == rounds
    else:
        assert f"replicates × rounds is {replicates * rounds}, at least 20" in complaint(text)


@pytest.mark.parametrize("more", ["batch_size: 2", "matrix: {batch_size: [1, 2]}"])
def test_single_stream_needs_batches_of_one(more: str) -> None:
    message = complaint(HEAD + f"    workload: single-stream\n    {more}\n")
    assert "set batch_size: 1 or workload: offline" in message


def test_single_stream_with_batches_of_one_is_fine() -> None:
    text = HEAD + "    workload: single-stream\n    matrix: {batch_size: [1], threads: [1, 2]}\n"
    assert parse(text).experiments[0].workload == "single-stream"


def test_a_load_test_is_asked_for_by_its_block_and_always_made_of_server_and_multi_stream() -> None:
    def load(body: str) -> Load | None:
        return parse(HEAD + body).experiments[0].load_test

    assert load("") is None
    assert load("    load: {}\n") == Load()
    assert load("    workload: multi-stream\n") == Load(samples_per_query=8)
    assert load("    workload: server\n    load: {latency_bound_s: 0.01}\n") == Load(latency_bound_s=0.01)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("    workload: server\n", "server needs the bound that latencies must hold: load: {latency_bound_s: SECONDS}"),
        ("    workload: server\n    load: {}\n", "server needs the bound"),
        ("    load: {latency_bound_s: 1}\n", "latency_bound_s is for workload: server; remove it"),
        ("    workload: server\n    batch_size: 2\n", "server sends one example at a time; set batch_size: 1"),
        ("    workload: multi-stream\n    batch_size: 2\n", "load: {samples_per_query: N}; remove batch_size"),
        ("    workload: multi-stream\n    matrix: {batch_size: [2]}\n", "remove batch_size"),
        ("    load: {official: true, min_duration_s: 5}\n", "official takes MLPerf's own min_duration_s"),
        ("    load: {percentile: 0.8}\n", "one of those that LoadGen logs: 0.5, 0.9, 0.95, 0.97, 0.99, 0.999"),
        ("    load: {min_duration_s: 0}\n", "greater than 0"),
        ("    load: {latency_bound: 1}\n", "did you mean 'latency_bound_s'?"),
    ],
)
def test_a_load_block_that_makes_no_sense_is_refused_with_the_remedy(body: str, sentence: str) -> None:
    assert sentence in complaint(HEAD + body)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"none\.yaml: cannot be read"):
        read_suite(tmp_path / "none.yaml")
    with pytest.raises(SuiteError, match="cannot be read"):
        read_suite(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SuiteError, match=r"binary\.yaml: cannot be read"):
        read_suite(tmp_path / "binary.yaml")


def test_a_file_reads_as_its_text_does(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(HEAD)
    assert read_suite(tmp_path / "s.yaml").spec == parse(HEAD)


@given(st.text(max_size=60))
def test_any_text_is_a_suite_or_a_suite_error(text: str) -> None:
    try:
        parse(text)
    except SuiteError as error:
        assert str(error).startswith("s.yaml")  # noqa: PT017 (either outcome is right; which one is the text's affair)


def test_an_error_points_at_the_closest_line_that_is_known() -> None:
    suite = parse_suite(HEAD, "s.yaml")
    assert suite.error("x", "experiments", 0, "model").line == 4
    assert suite.error("x", "experiments", 0, "baseline", "backend").line == 3
    assert suite.error("x", "nothing").line == 1


def test_yes_is_no_number_of_threads() -> None:
    assert "threads: input should be a valid integer, got True" in complaint(HEAD + "    threads: yes\n")


def model(text: str) -> str:
    """Return a suite whose model stands at line 4."""
    return HEAD.replace("    model: m\n", f"    model: {text}\n")


def test_a_plain_name_is_a_model_of_the_zoo() -> None:
    [experiment] = parse(HEAD).experiments
    assert experiment.model.zoo == "m"
    assert experiment.model.python is experiment.model.onnx is None


@pytest.mark.parametrize("kind", ["python", "onnx", "zoo"])
def test_a_model_is_exactly_one_of_three(kind: str) -> None:
    [experiment] = parse(model(f"{{{kind}: place}}")).experiments
    assert getattr(experiment.model, kind) == "place"


@pytest.mark.parametrize(
    "text", ["{}", "{name: x}", "{python: 'f.py:g', onnx: f.onnx}", "{zoo: m, onnx: f.onnx}", "{onnx: null}"]
)
def test_a_model_that_is_none_or_several_of_the_three_is_refused_at_its_line(text: str) -> None:
    assert complaint(model(text)) == (
        "s.yaml:4: experiments.0.model: a model is a name from models/, {python: file.py:function} or {onnx: file.onnx}"
    )


@pytest.mark.parametrize("more", ["name: x", "data: folder", "metric: accuracy", "examples: 8", "inputs: {}"])
def test_a_model_of_the_zoo_takes_nothing_beside_its_name(more: str) -> None:
    assert complaint(model(f"{{zoo: m, {more}}}")) == (
        "s.yaml:4: experiments.0.model: a model from models/ brings its own data; give its name only"
    )


def test_a_model_of_the_users_own_has_synthetic_data_by_default() -> None:
    [experiment] = parse(model("{onnx: f.onnx, inputs: {x: {shape: [batch, 3]}, ids: {shape: []}}}")).experiments
    entry = experiment.model
    assert (entry.data, entry.examples, entry.metric, entry.name) == ("synthetic", 400, None, None)
    assert list(entry.inputs) == ["x", "ids"]
    assert (entry.inputs["x"].shape, entry.inputs["x"].dtype, entry.inputs["ids"].shape) == (
        ("batch", 3),
        "float32",
        (),
    )


INPUT = """
      onnx: f.onnx
      inputs:
        image:
          shape: [batch, 3]
"""


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (INPUT.replace("[batch, 3]", "[3, batch]"), 7, "inputs.image: only the first size may be 'batch'"),
        (INPUT.replace("[batch, 3]", "[batch, batch]"), 7, "only the first size may be 'batch'"),
        (INPUT.replace("[batch, 3]", "[batch, 0]"), 8, "greater than or equal to 1"),
        (INPUT.replace("[batch, 3]", "[batch, N]"), 8, "inputs.image.shape.1"),
        (INPUT.replace("          shape", "          shap"), 8, "unknown key 'shap'; did you mean 'shape'?"),
        (INPUT + "          dtype: float3\n", 7, "unknown number format 'float3'; did you mean 'float32'?"),
        (INPUT + "          dtype: complex64\n", 7, "unknown number format 'complex64'"),
        (INPUT + "          low: 1\n", 7, "low and high come together; give both"),
        (INPUT + "          high: 1\n", 7, "low and high come together; give both"),
        (INPUT + "          low: 1\n          high: 1\n", 7, "high must lie above low"),
        (INPUT + "          low: 2\n          high: 1\n", 7, "high must lie above low"),
        (INPUT + "      exampels: 8\n", 9, "unknown key 'exampels'; did you mean 'examples'?"),
        (INPUT + "      examples: 0\n", 9, "experiments.0.model.examples: "),
        (INPUT + "      name: 'a b'\n", 9, "experiments.0.model.name: "),
        ("\n      onnx: f.onnx\n      inputs:\n        image: [batch, 3]\n", 7, "experiments.0.model.inputs.image: "),
    ],
)
def test_a_wrong_input_or_model_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    found = complaint(model(text))
    assert found.startswith(f"s.yaml:{line}: ")
    assert message in found
    assert "\n" not in found
