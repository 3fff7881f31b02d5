"""What a block does: the timed loop itself. Everything here runs in the measured process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.backends.base import Arrays, Session
from harness.registry import Registry

# The untimed start of every block: caches, branch predictors and thread pools come back from the other workers.
WARMUP_S = 0.005


class ClosedLoop:
    """One caller that sends the next batch when the last one's outputs are in host memory.

    Args:
        session: what is measured.
        batches: batches in host memory, used in turn, the same for every trial.
        clock_ns: a monotonic clock in nanoseconds.
    """

    def __init__(
        self, session: Session, batches: Sequence[Arrays], clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._session = session
        self._batches = batches
        self._clock_ns = clock_ns

    def block(self, calls: int, warmup_s: float = WARMUP_S) -> list[int]:
        """Return the nanoseconds of each of ``calls`` calls, after at least one untimed call and ``warmup_s``."""
        timed, batches, clock = self._session.timed, self._batches, self._clock_ns
        self._warm_up(warmup_s)
        samples = [0] * calls
        order = [batches[i % len(batches)] for i in range(calls)]
        for i, batch in enumerate(order):
            began = clock()
            timed(batch)
            samples[i] = clock() - began
        return samples

    def _warm_up(self, warmup_s: float) -> None:
        end = self._clock_ns() + int(1e9 * warmup_s)
        index = 0
        while index == 0 or self._clock_ns() < end:
            self._session.timed(self._batches[index % len(self._batches)])
            index += 1


# All are closed loops here; they differ in what a call is: a query of one example (single-stream, server), one of
# several (multi-stream), a batch (offline). What arrives when is loadgen.py's affair.
WORKLOADS: Registry[type[ClosedLoop]] = Registry("workload")
WORKLOADS.add("offline", ClosedLoop)
WORKLOADS.add("single-stream", ClosedLoop)
WORKLOADS.add("server", ClosedLoop)
WORKLOADS.add("multi-stream", ClosedLoop)
