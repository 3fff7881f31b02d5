"""Reads files of a /proc and /sys tree below any root."""

from __future__ import annotations

from pathlib import Path

from harness.schema import Unmeasured


def read_text(root: Path, path: str) -> str | Unmeasured:
    """Return a file's text without surrounding space, or why it cannot be read."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return Unmeasured(f"/{path} does not exist")
    except OSError as error:
        return Unmeasured(f"/{path}: {error.strerror}")


def read_field(root: Path, path: str, name: str) -> str | Unmeasured:
    """Return what follows ``name:`` in a file of such lines, or why it cannot be read."""
    text = read_text(root, path)
    if isinstance(text, Unmeasured):
        return text
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return Unmeasured(f"/{path} has no {name}")


def core_list(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as ``0-3,8``."""
    cores: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)
