"""An artifact's folder on disk: its description, its reference outputs, and whether it is intact.

No pydantic here: the measured process reads its artifact with this module.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from harness.cache import hash_file
from harness.schema import Artifact, Fidelity, Step, Unmeasured, Work

DESCRIPTION = "artifact.json"
REFERENCE = "reference.npz"


def read_description(directory: Path, *, cached: bool) -> Artifact:
    """Read an artifact's description from its folder."""
    document = json.loads((directory / DESCRIPTION).read_text())
    document["steps"] = tuple(Step(**s) for s in document["steps"])
    document["fidelity"] = Fidelity(document["fidelity"])
    if "work" in document:
        work = document["work"]
        document["work"] = (
            Unmeasured(**work) if "reason" in work else Work(**{**work, "uncounted": tuple(work["uncounted"])})
        )
    return dataclasses.replace(Artifact(**document), cached=cached)


def intact(directory: Path) -> bool:
    """Whether every file of an artifact is there with the hash it was built with."""
    try:
        files = read_description(directory, cached=True).files
        return all(hash_file(directory / name) == digest for name, digest in files.items())
    except (OSError, ValueError, TypeError, KeyError):
        return False


def payload(directory: Path) -> list[Path]:
    """Return the files that a deployment needs, sorted by name."""
    own = {DESCRIPTION, REFERENCE}
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.name not in own)
