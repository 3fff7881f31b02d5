"""This host reserved for one measurement: the lock, and who runs on which core."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import HostLockedError

_ALL_CORES = frozenset(os.sched_getaffinity(0))


def cores_for(threads: int) -> frozenset[int]:
    """Return the cores that workers with ``threads`` threads share; empty when they need all there are.

    The highest numbers, since the kernel's own work tends to the lowest.
    """
    available = sorted(_ALL_CORES)
    return frozenset(available[-threads:]) if threads < len(available) else frozenset()


@contextlib.contextmanager
def out_of_the_way(threads: int) -> Iterator[None]:
    """Keep this process off the measured cores where there are others."""
    others = _ALL_CORES - cores_for(threads)
    if not cores_for(threads) or not others:
        yield
        return
    os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, _ALL_CORES)


@contextlib.contextmanager
def host_lock(path: Path | None = None) -> Iterator[None]:
    """Hold this host's measurement lock; raises HostLockedError with the holder's pid when it is taken.

    The kernel releases it when the process ends, however it ends.
    """
    path = path or Path(tempfile.gettempdir()) / "optimization-harness.lock"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read().strip() or "unknown"
            raise HostLockedError(
                f"another measurement runs on this host (pid {holder}); two at once would disturb each other, "
                "so wait for it or end it"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
