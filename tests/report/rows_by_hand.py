"""Rows of an experiment by hand, with the columns that ``report_df`` gives."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.execution import COLUMNS as EXECUTION_COLUMNS
from harness.frame import COLUMNS
from harness.kept import COLUMNS as QUALITY_COLUMNS
from harness.reasons import COLUMNS as WHY_COLUMNS
from harness.roofline import COLUMNS as ROOFLINE_COLUMNS

NONE = dict.fromkeys(
    [
        *(c.name for c in COLUMNS),
        *ROOFLINE_COLUMNS,
        *("quality", "quality_low", "quality_high", "quality_n"),
        *(*QUALITY_COLUMNS, *EXECUTION_COLUMNS, *WHY_COLUMNS),
        *(f"latency_{p}{side}_s" for p in ("p50", "p95", "p99") for side in ("", "_low", "_high")),
        *("throughput_per_s", "throughput_low_per_s", "throughput_high_per_s"),
        *(f"alone_p50{side}_s" for side in ("", "_low", "_high")),
        *(f"alone_speedup{side}" for side in ("", "_low", "_high")),
        *(f"{p}{part}" for p in ("speedup", "technique_speedup") for part in ("", "_low", "_high", "_verdict")),
        *(f"{p}_{part}" for p in ("speedup", "technique_speedup") for part in ("reason", "rounds", "units", "scope")),
    ]
)


def row(trial: str, **known: Any) -> dict[str, Any]:
    """Return a trial that ended well, as a plain variant on 'ort' with an accuracy of 0.9 of 400 examples."""
    return {
        **NONE,
        "experiment": "e",
        "trial": trial,
        "role": "variant",
        "backend": "ort",
        "passes": "int8",
        "options": "",
        "workload": "offline",
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
        "status": "ok",
        "rounds": 40,
        "replicates": 5,
        "dirty_rounds": 4,
        "stopped_by": "precision",
        "margin": 0.02,
        "quality_margin": 0.01,
        "quality_metric": "accuracy",
        "quality_higher_is_better": True,
        "quality": 0.9,
        "quality_low": 0.88,
        "quality_high": 0.92,
        "quality_n": 400,
        "memory_floor_bytes": 50_000_000,
        "load_peak_rss_bytes": 60_000_000,
        "inference_peak_rss_bytes": 70_000_000,
        "inference_over_floor_bytes": 20_000_000,
        "artifact_bytes": 400_000,
        "build_s": 1.5,
        "build_cached": False,
        "latency_p50_s": 0.001,
        "speedup_clean": True,
        "missing": {},
        **known,
    }


def baseline(**known: Any) -> dict[str, Any]:
    return row("torch", role="baseline", backend="torch", passes="", **known)


def variant(
    trial: str, speedup: float, verdict: str = "faster", kept: str | None = "kept", **known: Any
) -> dict[str, Any]:
    """Return a compared variant; its intervals reach 5 % to either side."""
    return row(
        trial,
        **{
            "speedup": speedup,
            "speedup_low": 0.95 * speedup,
            "speedup_high": 1.05 * speedup,
            "speedup_verdict": verdict,
            "speedup_rounds": 40,
            "speedup_scope": "host",
            "speedup_reason": "",
            "quality_change": None if kept is None else 0.0,
            "quality_verdict": kept,
            **known,
        },
    )


def technique(ratio: float) -> dict[str, Any]:
    """Return the columns of a ratio over the variant's own engine."""
    return {
        "technique_speedup": ratio,
        "technique_speedup_low": 0.95 * ratio,
        "technique_speedup_high": 1.05 * ratio,
        "technique_speedup_verdict": "faster",
    }


def ended(trial: str, status: str, reason: str) -> dict[str, Any]:
    """Return a trial that ended early."""
    blank = {**NONE, **{k: v for k, v in row(trial).items() if isinstance(v, str) and not k.startswith("quality")}}
    return {**blank, "status": status, "reason": reason, "stage": "plan", "missing": {}, "speedup_clean": False}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def unjudged(made: dict[str, Any]) -> dict[str, Any]:
    """Return the row as it is where quality was not measured."""
    quality = {name: None for name in made if name.startswith("quality") and name != "quality_margin"}
    return {**made, **quality, "missing": {"quality": "there is no labeled data"}}
