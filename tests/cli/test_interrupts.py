from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from harness.cli.interrupts import kept_interrupts


class Interrupted:
    """Gets its Ctrl-C where Python cannot raise it."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs here
            pass


def test_an_interrupt_inside_a_finalizer_is_raised_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    @kept_interrupts()
    def wait() -> None:
        Interrupted()
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert capsys.readouterr().err == ""


class Broken:
    def __del__(self) -> None:
        raise ValueError("broken")


def test_other_faults_of_finalizers_are_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: reported.append(caught.exc_type))
    with kept_interrupts():
        Broken()
    assert reported == [ValueError]
