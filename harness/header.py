"""A run's header, ``run.json``: what was to be measured, where and with which versions; and whether it can go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness import __version__
from harness.backends.base import distribution_versions
from harness.environment import describe
from harness.errors import UserError
from harness.noise import stored_json
from harness.peaks import stored_json as stored_peaks
from harness.plan import Experiment
from harness.profile import with_profile
from harness.store import Run
from harness.suite import Suite, parse_suite

LISTED = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torch-pruning",
    "scikit-learn",
    "numpy",
    "mlcommons-loadgen",
)


@dataclass(frozen=True)
class SuiteSource:
    """The suite file as it was read, the path that was given for it, and the profile that was chosen."""

    text: str
    file: str
    profile: str | None = None


def now_text() -> str:
    """Return the time as headers and records hold it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def make_header(
    suite: str,
    seed: int,
    experiments: Sequence[Experiment],
    host: Mapping[str, Any],
    source: SuiteSource | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a new run's header; without ``source`` the run cannot be resumed."""
    origin = {} if source is None else {
        "suite_text": source.text, "suite_file": source.file, "profile": source.profile
    }  # fmt: skip
    return {
        "suite": suite,
        "seed": seed,
        "started_at": now_text(),
        "harness": __version__,
        "command": sys.argv,
        **origin,
        "options": dict(options),
        "host": dict(host),
        "noise": stored_json(host["id"]),
        "peaks": stored_peaks(host["id"]),
        "versions": _versions(),
        "experiments": [
            {
                "name": e.name,
                "model": e.model,
                "baseline": e.baseline.name,
                "trials": [t.name for t in e.trials],
                "measure": e.measure.model_dump(mode="json"),
                "quality_margin": e.quality_margin,
                "load": None if e.load is None else e.load.model_dump(mode="json"),
            }
            for e in experiments
        ],
    }


def is_complete(run: Run) -> bool:
    """Whether every planned trial has its record."""
    planned = {(e["name"], trial) for e in run.header["experiments"] for trial in e["trials"]}
    return planned <= {(r.trial.experiment, r.trial.name) for r in run.records}


def suite_of(run: Run) -> Suite:
    """Return the suite as the run read it; raises UserError when the run holds none."""
    if "suite_text" not in run.header:
        raise UserError(
            f"{run.name} cannot be resumed: it holds no copy of its suite (an older harness made it, or it was not "
            "made from a suite file); start a new run: harness run SUITE"
        )
    suite = parse_suite(run.header["suite_text"], run.header["suite_file"])
    return with_profile(suite, run.header.get("profile"))


def check_resumable(run: Run, experiments: Sequence[Experiment] | None, host: Mapping[str, Any]) -> None:
    """Raise UserError with the remedy when what is still missing could not be compared with what is there.

    ``experiments`` are what the run's suite plans here now; None when no trial is missing.
    """
    header = run.header
    remedy = f"start a new run: harness run {header.get('suite_file', 'SUITE')}"
    if header["host"]["id"] != host["id"]:
        raise UserError(
            f"{run.name} was measured on another host ({describe(header['host'])}, id {header['host']['id']}; "
            f"this one is {host['id']}), and only what ran side by side can be compared; {remedy}"
        )
    before = {"harness": header["harness"], "python": header["host"]["python"], **header["versions"]}
    here = {"harness": __version__, "python": host["python"], **_versions()}
    differing = [
        f"{name} {before.get(name, 'not installed')} (here: {here.get(name, 'not installed')})"
        for name in sorted({*before, *here})
        if before.get(name) != here.get(name)
    ]
    if differing:
        raise UserError(f"{run.name} was measured with {', '.join(differing)}; {remedy}")
    if experiments is not None and _planned(experiments) != [(e["name"], e["trials"]) for e in header["experiments"]]:
        raise UserError(f"{run.name}: its suite gives other trials here than it did when the run started; {remedy}")


def _planned(experiments: Sequence[Experiment]) -> list[tuple[str, list[str]]]:
    return [(e.name, [t.name for t in e.trials]) for e in experiments]


def _versions() -> dict[str, str]:
    return distribution_versions(LISTED)[0]
