from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.base import Arrays, Session
from harness.workloads.base import WORKLOADS, ClosedLoop

MS = 1_000_000


class ScriptedSession(Session):
    """Call number k takes the k-th of ``costs_ns`` (the last one from then on) on a clock that it moves itself."""

    def __init__(self, *costs_ns: int) -> None:
        self.time_ns = 0
        self.seen: list[int] = []
        self._costs_ns = costs_ns

    def clock_ns(self) -> int:
        return self.time_ns

    def __call__(self, inputs: Arrays) -> Arrays:
        self.time_ns += self._costs_ns[min(len(self.seen), len(self._costs_ns) - 1)]
        self.seen.append(int(inputs[0][0]))
        return inputs

    def executed(self) -> dict[str, Any]:
        return {}


def loop(session: ScriptedSession, batches: int = 1) -> ClosedLoop:
    return ClosedLoop(session, [(np.array([i]),) for i in range(batches)], session.clock_ns)


def test_each_call_is_timed_to_the_nanosecond() -> None:
    session = ScriptedSession(999, 11, 12, 13)
    assert loop(session).block(3, warmup_s=0.0) == [11, 12, 13]


def test_one_call_is_untimed_even_without_warm_up_time() -> None:
    session = ScriptedSession(5)
    assert loop(session).block(4, warmup_s=0.0) == [5, 5, 5, 5]
    assert len(session.seen) == 5


def test_calls_are_untimed_until_the_warm_up_time_is_over() -> None:
    session = ScriptedSession(2 * MS)
    assert len(loop(session).block(2, warmup_s=0.005)) == 2
    assert len(session.seen) == 3 + 2  # 2, 4, 6 ms: the third passes 5 ms


def test_batches_are_used_in_turn_from_the_first_one_in_every_block() -> None:
    session = ScriptedSession(1)
    closed = loop(session, batches=3)
    closed.block(5, warmup_s=0.0)
    assert session.seen == [0, 0, 1, 2, 0, 1]
    closed.block(2, warmup_s=0.0)
    assert session.seen[6:] == [0, 0, 1]


def test_the_warm_up_uses_batches_in_turn_as_well() -> None:
    session = ScriptedSession(MS)
    loop(session, batches=2).block(0, warmup_s=0.003)
    assert session.seen == [0, 1, 0]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30), st.integers(1, 8))
def test_the_durations_are_the_sessions_own(costs: list[int], batches: int) -> None:
    session = ScriptedSession(1, *costs)
    assert loop(session, batches).block(len(costs), warmup_s=0.0) == costs
    assert session.time_ns == 1 + sum(costs)


@pytest.mark.parametrize("name", ["offline", "single-stream"])
def test_both_workloads_are_closed_loops(name: str) -> None:
    assert WORKLOADS.get(name) is ClosedLoop
