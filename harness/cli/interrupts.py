"""Ctrl-C that cannot be lost: Python swallows one that falls into a finalizer, and the run would go on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN_S = 0.05  # the finalizer is over by then; if not, it is swallowed and sent once more


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Send an interrupt that Python could not raise once more, a moment later, without a trace on the terminal."""
    before = sys.unraisablehook

    def unraisable(caught: sys.UnraisableHookArgs) -> None:
        if caught.exc_type is KeyboardInterrupt:
            # A signal to the main thread, since that also ends a system call it waits in.
            again = threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            before(caught)

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = before
