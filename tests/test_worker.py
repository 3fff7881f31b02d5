"""What happens inside the child, without a child."""

from __future__ import annotations

from collections.abc import Collection
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.artifacts import REFERENCE
from harness.backends.base import Arrays, Session
from harness.errors import InvalidOutputError, OutOfMemoryError, UnsupportedError
from harness.protocol import sentence_of, status_of
from harness.schema import Fidelity, Status
from harness.worker import Worker, relative_error
from harness.workloads.base import WORKLOADS


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


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnsupportedError("no kernel"), Status.UNSUPPORTED),
        (InvalidOutputError("NaN"), Status.INVALID),
        (OutOfMemoryError("1 TB"), Status.OOM),
        (MemoryError(), Status.OOM),
        (ValueError("x"), Status.FAILED),
    ],
)
def test_exceptions_become_statuses(error: Exception, status: Status) -> None:
    assert status_of(error) is status


def test_a_foreign_exception_is_one_line_with_its_type() -> None:
    assert sentence_of(ValueError("first\n  second")) == "ValueError: first second"
    assert sentence_of(UnsupportedError("no kernel for Conv")) == "no kernel for Conv"


class _Compiling(Session):
    """Compiles something at every call from the second one on, or never."""

    def __init__(self, *, anew: bool) -> None:
        self._anew = anew
        self._compiled = 1

    def __call__(self, inputs: Arrays) -> Arrays:
        self._compiled += self._anew
        return inputs

    def compilations(self) -> int:
        return self._compiled

    def executed(self) -> dict[str, object]:
        return {}


def _block(session: Session) -> dict[str, object]:
    ours, theirs = Pipe()
    with ours, theirs:
        worker = Worker(theirs)
        worker._session = session
        worker._loop = WORKLOADS.get("offline")(session, [(np.zeros(2, np.float32),)])
        return worker._do_block(calls=3)


def test_a_block_in_which_the_module_was_compiled_anew_is_no_measurement() -> None:
    assert len(_block(_Compiling(anew=False))["ns"]) == 3  # type: ignore[arg-type]
    with pytest.raises(InvalidOutputError, match="compiled anew while it was timed"):
        _block(_Compiling(anew=True))


def _verify(
    monkeypatch: pytest.MonkeyPatch, directory: Path, wrong: Collection[int], within_s: float | None
) -> tuple[dict[str, object], int]:
    """Verify three calls, of which some are wrong, that must be right to a thousandth; returns reply and calls."""
    inputs = np.arange(3.0, dtype=np.float32).reshape(3, 1, 1) + 1
    np.savez(directory / REFERENCE, input_0=inputs, output_0=inputs, examples=3)
    monkeypatch.setattr("harness.worker.read_description", lambda *_, **__: SimpleNamespace(fidelity=Fidelity.RUNTIME))
    calls = 0

    def session(batch: Arrays) -> Arrays:
        nonlocal calls
        calls += 1
        return (batch[0] * (2 if calls - 1 in wrong else 1),)

    ours, theirs = Pipe()
    with ours, theirs:
        worker = Worker(theirs)
        worker._session = session  # type: ignore[assignment]
        worker._directory = directory
        return worker._do_verify(within_s), calls


def test_an_examination_verifies_every_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reply, calls = _verify(monkeypatch, tmp_path, (), within_s=None)
    assert (reply["n"], calls, reply["relative_error"]) == (3, 3, 0.0)
    with pytest.raises(InvalidOutputError, match="differ from the reference by"):
        _verify(monkeypatch, tmp_path, (2,), within_s=None)


def test_a_replicate_verifies_what_fits_and_more_where_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reply, calls = _verify(monkeypatch, tmp_path, (2,), within_s=0.0)
    assert (reply["n"], calls) == (1, 1)
    with pytest.raises(InvalidOutputError, match=r"the bound for 'runtime' is 0\.001"):
        _verify(monkeypatch, tmp_path, (0,), within_s=0.0)
