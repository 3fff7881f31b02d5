from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.errors import InvalidOutputError
from harness.measure.quality import METRICS, agreement_metric

TOP1 = METRICS.get("top1-agreement")
COSINE = METRICS.get("cosine-agreement")
FINITE = st.floats(-1e6, 1e6, width=32)
OUTPUTS = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


@st.composite
def pairs(draw: Any) -> tuple[Any, Any]:
    """Return two outputs of one shape and number format."""
    shape = draw(OUTPUTS)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int64, np.bool_]))
    elements = {np.bool_: st.booleans(), np.int64: st.integers(-5, 5)}.get(dtype, FINITE)
    return tuple(draw(hnp.arrays(dtype, shape, elements=elements)) for _ in range(2))  # type: ignore[return-value]


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@given(pairs())
def test_cosine_agreement_is_one_score_an_example_from_minus_1_to_1(pair: tuple[Any, Any]) -> None:
    got, want = pair
    scores = COSINE.score((got,), (want,))
    assert scores.shape == (len(got),)
    assert scores.dtype == np.float64
    assert ((scores >= -1) & (scores <= 1)).all()


@given(pairs())
def test_outputs_agree_fully_with_themselves(pair: tuple[Any, Any]) -> None:
    assert COSINE.score(pair, pair) == pytest.approx(np.ones(len(pair[0])))


@given(pairs())
def test_agreement_is_mutual(pair: tuple[Any, Any]) -> None:
    got, want = pair
    assert COSINE.score((got,), (want,)) == pytest.approx(COSINE.score((want,), (got,)))


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0.125, 8, width=32)), st.floats(0.01, 100))
def test_scale_alone_does_not_count_but_the_sign_does(outputs: Any, scale: float) -> None:
    assert COSINE.score((outputs * scale,), (outputs,)) == pytest.approx(np.ones(3), abs=1e-5)
    assert COSINE.score((outputs * -scale,), (outputs,)) == pytest.approx(-np.ones(3), abs=1e-5)


def test_two_zero_vectors_agree_and_one_does_not() -> None:
    zero, one = np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)
    assert COSINE.score((zero,), (zero,)).tolist() == [1.0, 1.0]
    assert COSINE.score((zero,), (one,)).tolist() == [0.0, 0.0]
    assert COSINE.score((one,), (zero,)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_very_small_and_very_large_outputs_still_agree_with_themselves(size: float) -> None:
    outputs = np.full((1, 3), size)
    assert COSINE.score((outputs,), (outputs,)) == pytest.approx([1.0])


def test_complex_outputs_count_with_both_their_parts() -> None:
    outputs = np.array([[1 + 1j, 2 - 1j]], np.complex64)
    assert COSINE.score((outputs,), (outputs,)) == pytest.approx([1.0])
    assert COSINE.score((outputs * 1j,), (outputs,)) == pytest.approx([0.0], abs=1e-7)


def test_integers_and_truth_values_count_by_their_share_of_equal_elements() -> None:
    got, want = np.array([[1, 2, 3, 4], [0, 0, 0, 0]]), np.array([[1, 2, 3, 9], [1, 1, 1, 1]])
    assert COSINE.score((got,), (want,)).tolist() == [0.75, 0.0]
    assert COSINE.score((got > 0,), (want > 0,)).tolist() == [1.0, 0.0]


def test_several_outputs_are_averaged() -> None:
    ones, ids = np.ones((2, 3), np.float32), np.array([1, 2])
    assert COSINE.score((ones, ids), (ones, np.array([1, 3]))).tolist() == [1.0, 0.5]


def test_outputs_without_elements_agree() -> None:
    nothing = np.zeros((2, 0, 4), np.float32)
    assert COSINE.score((nothing,), (nothing,)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ((np.ones((2, 3)),), (np.ones((2, 4)),)),
        ((np.ones((2, 3)),), (np.ones((2, 3)), np.ones((2, 3)))),
        ((), (np.ones((2, 3)),)),
    ],
    ids=["shape", "number", "none"],
)
def test_outputs_of_another_shape_or_number_are_refused(got: Any, want: Any) -> None:
    with pytest.raises(InvalidOutputError, match=r"^outputs have shapes \[.*\], the unoptimized model's \[\(2, "):
        COSINE.score(got, want)


@given(hnp.arrays(np.float32, (6, 4), elements=FINITE), hnp.arrays(np.float32, (6, 4), elements=FINITE))
def test_top1_agreement_is_1_where_the_class_is_the_same(got: Any, want: Any) -> None:
    scores = TOP1.score((got,), (want,))
    assert scores.tolist() == [float(a.argmax() == b.argmax()) for a, b in zip(got, want, strict=True)]
    assert TOP1.score((got,), (got,)).tolist() == [1.0] * 6
    assert TOP1.predict((got,)).tolist() == got.argmax(axis=1).tolist()


def test_top1_agreement_refuses_outputs_that_are_no_class_scores() -> None:
    with pytest.raises(InvalidOutputError, match=r"top1-agreement needs scores of shape \(n, classes\), got \(2,\)"):
        TOP1.score((np.ones(2),), (np.ones(2),))


def test_what_a_metric_is_held_against_is_said() -> None:
    against = {name: METRICS.get(name).against for name in METRICS}
    assert against == {
        "accuracy": "targets",
        "roc-auc": "targets",
        "top1-agreement": "reference",
        "cosine-agreement": "reference",
    }
    assert COSINE.predict((np.ones((2, 3)),)) is None


@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(-20, 20, width=32)))
def test_probabilities_are_compared_by_their_class(logits: Any) -> None:
    told_apart = len(set(softmax(logits).argmax(axis=1))) > 1  # of one class alone, agreement on it says nothing
    assert agreement_metric((softmax(logits),)) == ("top1-agreement" if told_apart else "cosine-agreement")


P = softmax(np.zeros((2, 4)))


@pytest.mark.parametrize(
    "expected",
    [
        (P * 2,),
        (P - 0.5,),
        (P, P),
        (P[:, :1] * 4,),  # one column of ones is no choice
        (P[0],),
        (P.reshape(2, 2, 2),),
        (np.eye(3, dtype=np.int64),),
        (np.full((2, 4), np.nan, np.float32),),
    ],
    ids=["sum", "negative", "two outputs", "one class", "vector", "maps", "integers", "nan"],
)
def test_anything_else_is_compared_by_similarity(expected: Any) -> None:
    assert agreement_metric(expected) == "cosine-agreement"
