from __future__ import annotations

import subprocess
import sys

import pytest

from harness.cli.interrupts import kept_interrupts

# In a process of its own: a signal concerns whatever else a process has loaded.
PROGRAM = """
import os, signal, time
from harness.cli.interrupts import kept_interrupts

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # Python's handler runs here, where nothing can be raised
            pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
try:
    with kept_interrupts():
        Interrupted()
        print("swallowed", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("raised")
"""


def test_an_interrupt_inside_a_finalizer_is_raised_after_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.split(), ran.stderr) == (0, ["swallowed", "raised"], "")


class Broken:
    def __del__(self) -> None:
        raise ValueError("broken")


def test_other_faults_of_finalizers_are_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: reported.append(caught.exc_type))
    with kept_interrupts():
        Broken()
    assert reported == [ValueError]
