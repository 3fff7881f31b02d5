"""Formatting for people. Storage is SI; nothing here is ever read back."""

from __future__ import annotations

import math


def seconds(value: float) -> str:
    """Format a duration with three significant digits: ``1.23 ms``."""
    return _small(value, "s")


def energy(value: float) -> str:
    """Format joules with three significant digits: ``4.56 mJ``."""
    return _small(value, "J")


def size(value: float) -> str:
    """Format bytes with decimal prefixes, as disks and model cards do: ``45.3 MB``."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit * 0.9995:
            return f"{_significant(value / limit)} {unit}"
    return f"{value:.0f} B"


def rate(value: float, unit: str) -> str:
    """Format a rate with decimal prefixes: ``153 GFLOP/s``."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            return f"{_significant(value / limit)} {prefix}{unit}"
    return f"{_significant(value)} {unit}"


def ratio(value: float) -> str:
    """Format a speed-up: ``5.41×``; three significant digits."""
    return f"{_significant(value)}×"


def percent(value: float, digits: int = 1) -> str:
    """Format a share: 0.013 → ``1.3 %``."""
    return f"{100 * value:.{digits}f} %"


def span(value: float) -> str:
    """Format a longer wait: ``2 min 05 s``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _small(value: float, unit: str) -> str:
    for factor, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n")):
        if abs(value) * factor >= 0.9995 or prefix == "n":
            return f"{_significant(value * factor)} {prefix}{unit}"
    raise AssertionError("unreachable")


def _significant(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}" if value == 0 else str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value) * 1.0005)))
    return f"{value:.{digits}f}"
