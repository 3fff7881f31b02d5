"""A backend whose cost and faults are known, for the tests and for ``harness selftest``.

Its artifact says what a call does: ``spin`` keeps the core busy until a time has passed; ``work`` does a fixed
amount of arithmetic, so that a disturbed host shows. A slow-down and a fault can be asked for by options.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.backends.base import Arrays, Backend, LowerRequest, Session, SessionOptions
from harness.errors import OutOfMemoryError, UnsupportedError
from harness.schema import Execution, OperatorUse, Unmeasured
from harness.zoo import Form

FAULTS = ("threads", "exception", "hang", "nan", "crash", "oom", "unsupported", "wrong")


class FakeBackend(Backend):
    """Options: ``spin_s`` or ``work`` (iterations), ``slowdown`` (0.05 is five percent more), ``fault``;
    ``allocate_bytes`` that a call touches and frees, ``leak_bytes`` that it keeps for ever; ``format``, the number
    format that its profile tells."""

    name = "fake"
    summary = "known cost and known faults, for the tests and the selftest"
    format = "fake-json"
    distributions = ()
    forms: ClassVar[Mapping[Form, tuple[str, ...]]] = {"torch": ()}
    options: ClassVar[Mapping[str, tuple[Any, ...]]] = dict.fromkeys(
        ("spin_s", "work", "slowdown", "fault", "fault_after", "allocate_bytes", "leak_bytes", "format"), ()
    )

    def import_runtime(self) -> None:
        """Nothing to import."""

    def lower(self, module: Any, request: LowerRequest) -> None:
        """Write what a call shall do; raises UnsupportedError for the fault of that name."""
        options = dict(request.options)
        if options.get("fault") == "unsupported":
            raise UnsupportedError("fake operator FancyConv has no kernel")
        if options.get("fault") == "crash-build":
            os.kill(os.getpid(), signal.SIGSEGV)
        (request.directory / "fake.json").write_text(json.dumps({"options": options, "scale": module.scale}))

    def load(self, directory: Path, session: SessionOptions) -> Session:
        """Open the artifact."""
        document = json.loads((directory / "fake.json").read_text())
        return FakeSession(document["options"], document["scale"], session.threads)

    def profile(
        self,
        directory: Path,
        options: SessionOptions,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        batches: Sequence[Arrays],  # noqa: ARG002
        calls: int,
    ) -> Execution | Unmeasured:
        """Tell a known execution of three operators, computing in the option ``format``; runs nothing."""
        number_format = json.loads((directory / "fake.json").read_text())["options"].get("format", "float32")
        operators = (
            OperatorUse("FakeConv", number_format, "compute", 0.75, 3.0),
            OperatorUse("FakeCast", "float32", "conversion", 0.15, 2.0),
            OperatorUse("FakeRelu", "float32", "other", 0.1, 3.0),
        )
        return Execution("fake profile", "time", calls, operators, outside_share=0.2)


class FakeSession(Session):
    """Outputs are ``scale`` times the input; the cost of a call is exact."""

    def __init__(self, options: Mapping[str, Any], scale: float, threads: int) -> None:
        factor = 1.0 + float(options.get("slowdown", 0.0))
        self._spin_ns = int(1e9 * float(options.get("spin_s", 0.0)) * factor)
        self._work = int(float(options.get("work", 0)) * factor)
        self._fault = options.get("fault")
        self._fault_after = int(options.get("fault_after", 0))
        self._allocate = int(options.get("allocate_bytes", 0))
        self._leak = int(options.get("leak_bytes", 0))
        self._leaked: list[Any] = []
        self._scale = scale
        self._threads = threads
        self._calls = 0

    def __call__(self, inputs: Arrays) -> Arrays:
        """Spend the time, then return one array of the first input's shape."""
        end = time.perf_counter_ns() + self._spin_ns
        self._calls += 1
        outputs = inputs[0] * np.float32(self._scale)
        if self._fault and self._calls > self._fault_after:
            outputs = self._misbehave(outputs)
        if self._allocate:
            np.ones(self._allocate, np.uint8)  # writing touches every page
        if self._leak:
            self._leaked.append(np.ones(self._leak, np.uint8))
        _work(self._work)
        while time.perf_counter_ns() < end:
            pass
        return (outputs,)

    def _misbehave(self, outputs: Any) -> Any:
        if self._fault == "exception":
            raise RuntimeError("the fake model raises on purpose")
        if self._fault == "oom":
            raise OutOfMemoryError("the fake model could not allocate 1 TB")
        if self._fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._fault == "hang":
            time.sleep(3600)
        if self._fault == "nan":
            return outputs * np.float32("nan")
        if self._fault == "wrong":
            return outputs + np.float32(1.0)
        return outputs

    def executed(self) -> dict[str, Any]:
        """Report what was asked for; a fake has no runtime to ask."""
        threads = self._threads + (self._fault == "threads")
        return {"threads": threads, "provider": "fake", "precision": "float32"}


def _work(iterations: int) -> int:
    value = 1
    for _ in range(iterations):
        value = (value * 1664525 + 1013904223) & 0xFFFFFFFF
    return value
