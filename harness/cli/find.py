"""Finds the run that a command's RUN argument means."""

from __future__ import annotations

import sys
from pathlib import Path


def find_run(run: str, results: Path) -> Path:
    """Return the folder of a run: ``run`` is a folder, a name in ``results``, or ``latest``.

    A damaged run doesn't hide the others: it is named on stderr. Raises UnknownNameError with a suggestion for a
    name that isn't there, and UserError when there are no runs.
    """
    from harness.errors import UnknownNameError, UserError
    from harness.store import RUN_FILE, survey

    for candidate in (Path(run), results / run, results / "published" / run):
        if (candidate / RUN_FILE).is_file():
            return candidate
    found = survey(results)
    for error in found.damaged.values():
        print(f"warning: {error}; this run is left out", file=sys.stderr)
    if not found.runs:
        raise UserError(f"{results}/ holds no runs; harness run SUITE makes one")
    if run == "latest":
        return found.runs[-1]
    raise UnknownNameError("run", run, [directory.name for directory in found.runs])
