"""Why variants of an experiment are not faster, one sentence each; those with the same one together."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness import units
from harness.report.rows import each, measured


@dataclass(frozen=True)
class Reason:
    """A sentence, the rule behind it, and whom it is about: ``ort-int8, 0.43× over ort``."""

    subject: str
    sentence: str
    rule: str


def reasons(rows: pd.DataFrame) -> tuple[Reason, ...]:
    """Return the reasons of the measured trials of one experiment, slowest last."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in each(measured(rows)):
        if isinstance(row["why"], str):
            subject = f"{row['trial']}, {units.ratio(row['why_ratio'])} over {row['why_against']}"
            found.setdefault((row["why"], row["why_rule"]), []).append(subject)
    return tuple(Reason("; ".join(subjects), sentence, rule) for (sentence, rule), subjects in found.items())
