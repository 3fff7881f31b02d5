from __future__ import annotations

import pytest

from harness.errors import SuiteError
from harness.profile import with_profile
from harness.suite import Suite, parse_suite

SUITE = """\
suite: s
measure: {rounds: 20}
profiles:
  quick:
    experiments: [grid]
    threads: [1]
    passes: [int8]
    measure: {replicates: 3, rounds: 7}
  named:
    variants: [b]
  wrong:
    variants: [c]
experiments:
  - name: other
    model: m
    variants: [{name: a, backend: torch}, {name: b, backend: torch}]
  - name: grid
    model: m
    measure: {rounds: 99}
    matrix:
      backend: [torch, onnxruntime]
      threads: [1, 2]
      batch_size: [1, 8]
      passes: {plain: [], int8: [quantize.static-int8]}
    exclude:
      - {backend: torch, passes: plain}
      - {backend: torch, passes: int8}
"""


@pytest.fixture
def suite() -> Suite:
    return parse_suite(SUITE, "s.yaml")


def test_without_a_profile_the_suite_stays_whole(suite: Suite) -> None:
    assert with_profile(suite, None) is suite


def test_a_profile_keeps_what_it_lists_and_everything_of_an_axis_it_does_not(suite: Suite) -> None:
    spec = with_profile(suite, "quick").spec
    [grid] = spec.experiments
    assert grid.name == "grid"
    assert (grid.matrix.threads, grid.matrix.batch_size) == ((1,), (1, 8))
    assert (grid.matrix.backend, list(grid.matrix.passes)) == (("torch", "onnxruntime"), ["int8"])


def test_its_measure_replaces_that_of_the_suite_and_of_the_experiments(suite: Suite) -> None:
    spec = with_profile(suite, "quick").spec
    assert (spec.measure.replicates, spec.measure.rounds, spec.experiments[0].measure) == (3, 7, None)


def test_a_rule_about_what_is_left_out_goes_with_it(suite: Suite) -> None:
    [grid] = with_profile(suite, "quick").spec.experiments
    assert grid.exclude == ({"backend": "torch", "passes": "int8"},)


def test_variants_are_kept_by_label_and_an_experiment_that_has_none_of_them_stays(suite: Suite) -> None:
    other, grid = with_profile(suite, "named").spec.experiments
    assert [v.label for v in other.variants] == ["b"]
    assert grid.matrix.threads == (1, 2)


def test_errors_point_at_the_experiment_as_it_stands_in_the_file(suite: Suite) -> None:
    error = with_profile(suite, "quick").error("no such model", "experiments", 0, "model")
    assert str(error).startswith("s.yaml:18: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quik", "s.yaml:3: the suite has no profile 'quik'; did you mean 'quick'\\?; it has: quick, named, wrong"),
        ("wrong", "s.yaml:12: profile 'wrong' keeps variants 'c', which no experiment has"),
    ],
)
def test_a_name_that_nothing_has_is_answered_with_line_and_remedy(suite: Suite, name: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        with_profile(suite, name)
