"""Finds the run that a command's RUN argument means."""

from __future__ import annotations

from pathlib import Path


def find_run(run: str, results: Path) -> Path:
    """Return the folder of a run: ``run`` is a folder, a name in ``results``, or ``latest``.

    Raises UnknownNameError with a suggestion for a name that isn't there, and UserError when there are no runs.
    """
    from harness.errors import UnknownNameError, UserError
    from harness.store import RUN_FILE, find_runs

    for candidate in (Path(run), results / run, results / "published" / run):
        if (candidate / RUN_FILE).is_file():
            return candidate
    runs = find_runs(results)
    if not runs:
        raise UserError(f"{results}/ holds no runs; harness run SUITE makes one")
    if run == "latest":
        return runs[-1]
    raise UnknownNameError("run", run, [r.name for r in runs])
