from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from harness.backends.base import Arrays
from harness.errors import InvalidOutputError
from harness.reference import relative_error, verify, write_reference
from harness.schema import Fidelity, FidelityCheck


def test_equal_outputs_have_no_error() -> None:
    outputs = (np.ones((2, 3), np.float32), np.arange(4))
    assert relative_error(outputs, outputs) == 0.0


def test_the_error_is_relative_to_the_reference_and_the_worst_output_counts() -> None:
    reference = (np.full(4, 10.0), np.full(4, 1.0))
    assert relative_error((np.full(4, 10.1), np.full(4, 1.0)), reference) == pytest.approx(0.01)
    assert relative_error((np.full(4, 10.1), np.full(4, 1.5)), reference) == pytest.approx(0.5)


def test_a_reference_of_zeros_gives_the_absolute_error() -> None:
    assert relative_error((np.full(4, 0.5),), (np.zeros(4),)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ((np.array([1.0, np.nan]),), "not finite in 50 %"),
        ((np.array([1.0, np.inf]),), "not finite in 50 %"),
        ((np.ones(3),), "has shape"),
        ((np.ones(2), np.ones(2)), "2 outputs, the reference has 1"),
    ],
)
def test_outputs_that_cannot_be_right_are_invalid(outputs: tuple[np.ndarray, ...], sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidOutputError, match=sentence):
        relative_error(outputs, (np.ones(2),))


class Session:
    """Gives its input back, of some calls twice as large."""

    def __init__(self, wrong: Collection[int] = ()) -> None:
        self.calls = 0
        self._wrong = wrong

    def __call__(self, inputs: Arrays) -> Arrays:
        factor = 2 if self.calls in self._wrong else 1
        self.calls += 1
        return (inputs[0] * factor,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the reference of three calls of two examples."""
    calls = [(np.full((2, 4), i + 1.0, np.float32),) for i in range(3)]
    write_reference(tmp_path, calls, calls, size=2)
    return tmp_path


def test_an_examination_verifies_every_call(folder: Path) -> None:
    session = Session()
    assert verify(session, folder, Fidelity.RUNTIME) == FidelityCheck(Fidelity.RUNTIME, 0.0, 1e-3, n=6)
    assert session.calls == 3
    with pytest.raises(InvalidOutputError, match="differ from the reference by"):
        verify(Session(wrong={2}), folder, Fidelity.RUNTIME)


def test_a_replicate_verifies_what_fits_and_goes_on_where_that_is_wrong(folder: Path) -> None:
    session = Session(wrong={2})
    assert verify(session, folder, Fidelity.RUNTIME, within_s=0.0).n == 2
    assert session.calls == 1
    first_wrong = Session(wrong={0})
    with pytest.raises(InvalidOutputError, match=r"the bound for 'runtime' is 0\.001"):
        verify(first_wrong, folder, Fidelity.RUNTIME, within_s=0.0)
    assert first_wrong.calls == 3


def test_a_few_wrong_calls_among_many_right_ones_decide_nothing(tmp_path: Path) -> None:
    calls = [(np.full((1, 1), 1e-6 if i == 0 else 1.0),) for i in range(8)]
    write_reference(tmp_path, calls, calls, size=1)
    session = Session(wrong={0})  # nearly zero, where any rounding is a large relative error
    check = verify(session, tmp_path, Fidelity.RUNTIME, within_s=0.0)
    assert (check.n, session.calls) == (2, 2)


def test_a_quality_pass_has_no_bound(folder: Path) -> None:
    check = verify(Session(wrong={0, 1, 2}), folder, Fidelity.QUALITY)
    assert (check.bound, check.relative_error) == (None, pytest.approx(1.0))


def test_of_outputs_that_change_their_shape_one_call_is_kept(tmp_path: Path) -> None:
    inputs = [(np.ones((1, 2)),), (np.ones((1, 2)),)]
    write_reference(tmp_path, inputs, [(np.ones((1, 2)),), (np.ones((1, 3)),)], size=1)
    assert verify(Session(), tmp_path, Fidelity.RUNTIME).n == 1


def test_outputs_that_change_their_shape_where_the_references_do_not_are_invalid(folder: Path) -> None:
    shapes = iter([(2, 4), (2, 4), (1, 4)])
    with pytest.raises(InvalidOutputError, match="change their shape from call to call"):
        verify(lambda _: (np.ones(next(shapes)),), folder, Fidelity.RUNTIME)
