"""Values of a frame as the cells of a table."""

from __future__ import annotations

from typing import Any


def absent(value: Any) -> bool:
    """Return whether a value is missing: None or NaN, the only value that differs from itself."""
    return value is None or value != value


def optional(value: Any, show: Any) -> str:
    """Format a value, or a dash where there is none."""
    return "-" if absent(value) else str(show(value))
