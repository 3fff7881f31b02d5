"""A run as one JSON document: what ``--json`` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from harness.store import Run

DOCUMENT_VERSION = 1


def document(run: Run, frame: pd.DataFrame) -> dict[str, Any]:
    """Return a run with all its rows as JSON-ready data: SI units as in the columns' names, null where missing.

    Why a value is missing stands in the row's ``missing``, by column.
    """
    header = run.header
    planned = sum(len(experiment["trials"]) for experiment in header["experiments"])
    return {
        "document_version": DOCUMENT_VERSION,
        "run": run.name,
        "directory": str(run.directory),
        "complete": len(frame) >= planned,
        **{name: header.get(name) for name in ("suite", "seed", "started_at", "resumed_at", "harness", "versions")},
        "host": header["host"],
        "experiments": header["experiments"],
        "rows": [plain(row) for row in frame.to_dict(orient="records")],
    }


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; what is not a finite number becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
