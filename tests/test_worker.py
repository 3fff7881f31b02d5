"""What happens inside the child, without a child."""

from __future__ import annotations

from multiprocessing import Pipe

import numpy as np
import pytest

from harness.backends.base import Arrays, Session
from harness.errors import InvalidOutputError, OutOfMemoryError, UnsupportedError
from harness.protocol import sentence_of, status_of
from harness.schema import Status
from harness.worker import Worker
from harness.workloads.base import WORKLOADS


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
