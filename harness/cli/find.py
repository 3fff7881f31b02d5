"""Finds the run that an argument means."""

from __future__ import annotations

import sys
from pathlib import Path


def find(run: str, results: Path) -> Path:
    """Return the folder of a run: a path, a name in ``results``, or 'latest'; raises UnknownNameError.

    A damaged run does not hide the others: it is named on stderr.
    """
    from harness.errors import UnknownNameError
    from harness.store import RUN_FILE, survey

    for candidate in (Path(run), results / run):
        if (candidate / RUN_FILE).is_file():
            return candidate
    found = survey(results)
    for error in found.damaged.values():
        print(f"warning: {error}; this run is left out", file=sys.stderr)
    if run == "latest" and found.runs:
        return found.runs[-1]
    raise UnknownNameError("run", run, [directory.name for directory in found.runs])
