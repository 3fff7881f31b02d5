"""Opening artifacts that a test has rewritten."""

from __future__ import annotations

from harness.backends import BACKENDS
from harness.backends.base import SessionOptions


def load(backend, directory, **options):
    """Return a session of one thread."""
    return BACKENDS.get(backend).load(directory, SessionOptions(1, options))
