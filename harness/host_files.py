"""What was measured of a host once and holds for many runs: ``<cache>/<kind>/<host>/threads-<n>.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.cache import default_root
from harness.errors import StoreError

T = TypeVar("T")


def folder_of(kind: str, host: str, root: Path | None = None) -> Path:
    """Return where a host's measurements of one kind lie; ``root`` is the cache, by default the user's."""
    return (default_root() if root is None else root) / kind / host


def keep(kind: str, host: str, threads: int, document: Mapping[str, Any], root: Path | None = None) -> Path:
    """Write a measurement, in place of an earlier one of as many threads, and return the file."""
    path = folder_of(kind, host, root) / f"threads-{threads}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(f".{os.getpid()}.partial")
    staging.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    staging.replace(path)
    return path


def stored(kind: str, host: str, read: Callable[[Any], T], root: Path | None = None) -> list[T]:
    """Return a host's measurements of one kind; empty when there are none.

    ``read`` raises ValueError for what is none. Raises StoreError for a damaged file, with the command that
    measures again.
    """
    found = []
    for path in sorted(folder_of(kind, host, root).glob("threads-*.json")):
        try:
            found.append(read(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged: {error}; delete it and repeat harness doctor --{kind}") from error
    return found
