"""What every part of the report needs from the rows of one experiment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness import units
from harness.schema import Quality
from harness.store import Run
from harness.verdicts import run_df

Row = Any  # a pandas Series, one value a column; pandas-stubs can't type its mixed values


@dataclass(frozen=True)
class Metric:
    """The quality metric of an experiment and how its values are written.

    Attributes:
        percent: whether values are shares that read best as percentages and points.
    """

    name: str
    higher_is_better: bool
    percent: bool

    def value(self, value: float) -> str:
        """Format one value: ``99.4 %`` or three significant digits."""
        return units.percent(value) if self.percent else _plain(value)

    def interval(self, low: float, high: float) -> str:
        """Format an interval: ``[98.4, 99.8]``, in percent where values are."""
        if self.percent:
            return f"[{100 * low:.1f}, {100 * high:.1f}]"
        return f"[{_plain(low)}, {_plain(high)}]"

    def change(self, change: float) -> str:
        """Format a change, negative being worse: ``−0.6 pt``; for a metric where less is better ``0.6 worse``."""
        text = f"{100 * change:+.1f}" if self.percent else f"{change:+.3g}"
        if float(text) == 0:
            text = text.replace("-", "+")
        if not self.higher_is_better:
            word = "worse" if text.startswith("-") else "better"
            text = "no change" if float(text) == 0 else f"{text[1:]} {word}"
        return text.replace("-", "−") + (" pt" if self.percent else "")

    def margin(self, margin: float) -> str:
        """Format the margin that a drop is tested against: ``1 pt``."""
        return f"{100 * margin:g} pt" if self.percent else f"{margin:g}"


def report_df(run: Run) -> pd.DataFrame:
    """Return ``run_df`` with ``quality_higher_is_better``: True, False, or None where quality was not measured."""
    frame = run_df(run)
    directions = [r.quality.higher_is_better if isinstance(r.quality, Quality) else None for r in run.records]
    return frame.assign(quality_higher_is_better=pd.Series(directions, index=frame.index, dtype=object))


def metric_of(rows: pd.DataFrame) -> Metric | None:
    """Return the experiment's metric; None when no trial's quality was measured.

    A metric counts as a share when more is better and every value lies in [0, 1].
    """
    known = rows[rows["quality"].notna()]
    if not len(known):
        return None
    first = known.iloc[0]
    higher = bool(first["quality_higher_is_better"])
    values = known["quality"].astype(float)
    return Metric(str(first["quality_metric"]), higher, higher and bool(values.between(0.0, 1.0).all()))


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that ended well, fastest first, the baseline at its speed-up of 1."""
    good = rows[rows["status"] == "ok"]
    speed = good["speedup"].astype(float).mask(good["role"] == "baseline", 1.0)
    return good.assign(speedup_shown=speed).sort_values("speedup_shown", ascending=False, kind="stable")


def baseline_of(rows: pd.DataFrame) -> Row | None:
    """Return the baseline's row, however it ended; None when it has no record."""
    found = rows[rows["role"] == "baseline"]
    return found.iloc[0] if len(found) else None


def engine_of(row: Row, rows: pd.DataFrame) -> Row | None:
    """Return the measured plain row of a variant's own engine: no passes, fewest options; None without one."""
    plain = rows[
        (rows["status"] == "ok")
        & (rows["role"] != "variant")
        & (rows["passes"] == "")
        & (rows["backend"] == row["backend"])
        & (rows["threads"] == row["threads"])
    ]
    if not len(plain):
        return None
    return plain.iloc[min(range(len(plain)), key=lambda i: _options(plain.iloc[i]["options"]))]


def each(rows: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows one by one."""
    for _, row in rows.iterrows():
        yield row


def absent(value: Any) -> bool:
    """Return whether a value is missing: None or NaN, the only value that differs from itself."""
    return value is None or value != value


def optional(value: Any, show: Any, blank: str = "–") -> str:
    """Format a value, or a dash where there is none."""
    return blank if absent(value) else str(show(value))


def estimate(row: Row, prefix: str = "speedup") -> str:
    """Format a speed-up with its interval: ``6.46× [6.05, 6.90]``."""
    if absent(row[prefix]):
        return "–"
    low, high = (units.ratio(row[f"{prefix}_{side}"])[:-1] for side in ("low", "high"))
    return f"{units.ratio(row[prefix])} [{low}, {high}]"


def needed(row: Row) -> str:
    """Say how many examples would decide an inconclusive change in quality."""
    if absent(row["quality_n_needed"]):
        return f"no number of examples near {row['quality_n']:.0f} would decide"
    return f"about {row['quality_n_needed']:.0f} examples would decide, {row['quality_n']:.0f} were used"


def p_value(value: float) -> str:
    """Format a p-value: ``p = 0.031``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _options(text: str) -> int:
    return len(json.loads(text)) if text else 0


def _plain(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
