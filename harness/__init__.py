"""Benchmark and evaluation harness for deep-learning model optimization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.verdicts import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Lazy, so that a worker or `harness --help` never pays for pandas.
    if name == "load":
        from harness.verdicts import load

        return load
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
