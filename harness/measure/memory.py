"""Peak memory of this process from the kernel's own high-water mark: no sampling thread, nothing missed.

Writing 5 to /proc/self/clear_refs sets VmHWM back to the present VmRSS (proc(5)). Standard library only.
"""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc/self")


def peak_rss_bytes() -> int:
    """Return the high-water mark of resident memory since start or the last reset."""
    return _status_kib("VmHWM") * 1024


def rss_bytes() -> int:
    """Return resident memory now."""
    return _status_kib("VmRSS") * 1024


def reset_peak() -> None:
    """Set the high-water mark back to the present; raises OSError where the kernel does not let us."""
    (_PROC / "clear_refs").write_text("5")


def _status_kib(field: str) -> int:
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
