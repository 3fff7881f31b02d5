"""The cache of builds: folders named by a hash of everything that went into them.

A folder appears by one atomic rename when it is complete, so a killed build leaves nothing half done, and two
runs cannot see each other's work in progress.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

ENVIRONMENT_VARIABLE = "HARNESS_CACHE_DIR"


def default_root() -> Path:
    """Return ``$HARNESS_CACHE_DIR``, or the user's cache folder."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().resolve()
    # Here, because the measured process imports this module's hashing but needs no platformdirs.
    import platformdirs

    return Path(platformdirs.user_cache_dir("optimization-harness"))


def key_of(parts: Any) -> str:
    """Return the SHA-256 (hex, 32 digits) of JSON-ready parts; equal parts give equal keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_source(path: Path) -> str:
    """Return the SHA-256 (hex) of what a Python file does: comments, docstrings and layout do not count.

    So a better sentence in a model's docstring trains nothing again.
    """
    import ast  # the measured process hashes files only

    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """Return one hash over several files' contents, in the order of their names."""
    return key_of([hash_file(path) for path in sorted(paths)])


class Cache:
    """Folders under ``root``: ``data``, ``modules``, ``artifacts``, ``predictions``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, key: str) -> Path:
        """Return the place of an entry, whether it exists or not."""
        return self.root / kind / key

    def get_or_make(self, kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
        """Return the entry's folder and whether it was there already.

        ``make`` fills an empty temporary folder; the entry appears only when it returns.
        """
        final = self.folder(kind, key)
        if final.is_dir():
            return final, True
        final.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{key[:8]}-", dir=final.parent))
        staging.chmod(final.parent.stat().st_mode)  # as its neighbors: mkdtemp lets nobody else in
        try:
            make(staging)
            try:
                staging.rename(final)
            except OSError as error:
                if not final.is_dir():  # else another process was faster with the same content
                    raise HarnessError(f"cannot write to the cache at {final}: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return final, False

    def discard(self, kind: str, key: str) -> None:
        """Remove a damaged entry, so that it is made anew."""
        shutil.rmtree(self.folder(kind, key), ignore_errors=True)
