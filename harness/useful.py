"""The useful share of a run: how much of its wall time was timed calls, and how much the harness took for itself."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from harness import units
from harness.errors import StoreError
from harness.schema import Timing
from harness.store import Run, read_note, read_table


@dataclass(frozen=True)
class UsefulShare:
    """Seconds of one run.

    Attributes:
        timed_s: all timed calls together, those of disturbed rounds too.
        measuring_s: of the replicates: start, load and calibration of their workers, all rounds, and the waits between.
        wall_s: of the whole run, builds and examinations too; None when a part of it was cut short or not recorded.
    """

    timed_s: float
    measuring_s: float
    wall_s: float | None

    @property
    def of_measuring(self) -> float:
        """Timed calls over the measuring phase."""
        return self.timed_s / self.measuring_s

    @property
    def of_run(self) -> float | None:
        """Timed calls over the whole run; None where its wall time is not known."""
        return None if not self.wall_s else self.timed_s / self.wall_s

    def sentence(self) -> str:
        """Return both shares in one line."""
        text = f"{units.percent(self.of_measuring, 0)} of the measuring phase ({units.span(self.measuring_s)})"
        if self.of_run is None or self.wall_s is None:
            return f"{text}; the wall time of the whole run is not recorded"
        return f"{text}, {units.percent(self.of_run, 0)} of the whole run ({units.span(self.wall_s)})"


def useful_share(run: Run) -> UsefulShare | None:
    """Return the useful share of a run; None when it timed nothing, or samples of an old run lack their note."""
    folders = sorted({r.timing.samples for r in run.records if isinstance(r.timing, Timing)})
    timed = measuring = 0.0
    for folder in folders:
        for path in sorted((run.directory / folder).glob("group-*-replicate-*.parquet")):
            try:
                measuring += float(read_note(path)["seconds"])
            except (StoreError, KeyError):
                return None
            timed += (pc.sum(read_table(path).column("latency_ns")).as_py() or 0) / 1e9
    parts = run.header.get("parts_s", [])
    complete = len(parts) == 1 + len(run.header.get("resumed_at", []))
    return UsefulShare(timed, measuring, sum(parts) if complete else None) if measuring else None
