"""Where, with what and how a run was measured, and what was not: the facts a stranger needs to judge it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness import units
from harness.environment import describe
from harness.execution import COLUMNS as EXECUTION_COLUMNS
from harness.frame import NO_GPU
from harness.noise import Noise, noise_from_json
from harness.peaks import Peaks, operations, peaks_of
from harness.report.rows import absent, each, metric_of
from harness.roofline import COLUMNS as ROOFLINE_COLUMNS
from harness.roofline import NOT_MEASURED, level_name
from harness.store import Run
from harness.useful import useful_share

NO_NOISE = "not measured (harness doctor --noise)"
LABELS = {
    **dict.fromkeys(("energy_j", "energy_source", "energy_scope"), "energy"),
    **dict.fromkeys(
        (f"utilization{part}" for part in ("", "_waited", "_per_core", "_window_s", "_disturbed")), "utilization"
    ),
    **dict.fromkeys(
        (f"gpu_{name}" for name in ("sm_utilization", "memory_utilization", "power_w", "sm_clock_hz", "throttling")),
        "GPU use",
    ),
    **dict.fromkeys((f"device_memory_{name}bytes" for name in ("", "allocated_", "reserved_")), "device memory"),
    "pss_bytes": "proportional memory",
    "uss_bytes": "unique memory",
    "anonymous_bytes": "anonymous memory",
    "growth_bytes_per_call": "growth with calls",
    "latency_p50_s": "p50 latency",
    "latency_p95_s": "p95 latency",
    "latency_p99_s": "p99 latency",
    "throughput_per_s": "throughput",
    "threads_actual": "threads in use",
    "precision_actual": "precision in use",
    "speedup": "speed-up",
    "technique_speedup": "speed-up over own engine",
    "quality_change": "change in quality",
    "execution_source": "what really ran",
    "roofline_share": "share of the hardware’s limit",
}
# Missing for the reason of another column, or because nothing was there to count.
FOLLOWERS = {*ROOFLINE_COLUMNS, *EXECUTION_COLUMNS} - {"roofline_share", "execution_source"}
OWN_ROW = "this is the row that others are compared with"  # no gap, but what a reference is


@dataclass(frozen=True)
class Fact:
    """One line of a list: a name and what is known of it."""

    name: str
    text: str


@dataclass(frozen=True)
class Gap:
    """A quantity that was not measured: one reason for all trials, or one a trial."""

    name: str
    reason: str
    trials: tuple[Fact, ...] = ()


def environment(run: Run) -> tuple[Fact, ...]:
    """Return what is known of the host and the software; a header of an older run may say less."""
    header = run.header
    host = header["host"]
    versions = header.get("versions") or {}
    finished = max((r.finished_at for r in run.records), default="")
    useful = useful_share(run)
    facts = [
        ("host", f"{describe(host)} (id {host['id']})"),
        ("system", _join(host.get("system"), _prefixed("kernel", host.get("kernel")))),
        ("python", host.get("python")),
        ("libraries", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("harness", header.get("harness")),
        ("command", shlex.join(map(str, header.get("command") or []))),
        ("seed", header.get("seed")),
        ("started", _date(header.get("started_at"))),
        ("last trial ended", _date(finished)),
        ("others before", _neighbors(header.get("neighbors"))),
        ("load before", _prefixed("1 min average", host.get("load_average_1m"))),
        ("CPU governor", host.get("governor")),
        ("noise of the host", _noise(header.get("noise"))),
        ("peaks of the host", "; ".join(map(_peaks_entry, peaks_of(header).values())) or NOT_MEASURED),
        ("timed calls", None if useful is None else useful.sentence()),
    ]
    return tuple(Fact(name, str(text)) for name, text in facts if text not in (None, ""))


def procedure(experiment: Mapping[str, Any], rows: pd.DataFrame) -> tuple[Fact, ...]:
    """Return how one experiment was measured, from its entry in the run's header and its rows."""
    settings = experiment.get("measure", {})
    facts = [Fact("workload", _workload(rows))] if len(rows) else []
    timed = rows[rows["rounds"].notna()] if len(rows) else rows
    if len(timed):
        first = timed.iloc[0]
        stop = f"stopped by {first['stopped_by']}"
        if "precision" in settings:
            stop += f" (wanted ±{100 * settings['precision']:g} % on every speed-up)"
        facts += [
            Fact("replicates", f"{first['replicates']:.0f} fresh sets of processes; {stop}"),
            Fact("rounds", f"{first['rounds']:.0f}, one block of every variant in random order each"),
            Fact("disturbed rounds", _disturbed(timed)),
            _floor(timed),
            *_outside(timed),
            *_used(timed),
        ]
        facts += _scopes(timed)
    facts.append(Fact("margin of speed", f"{100 * settings['margin']:g} %: a smaller difference is the same"))
    metric = metric_of(rows) if len(rows) else None
    margin = float(experiment["quality_margin"])
    facts.append(
        Fact("margin of quality", f"{margin:g}" if metric is None else f"{metric.margin(margin)} of {metric.name}")
    )
    return tuple(facts)


def gaps(rows: pd.DataFrame) -> tuple[Gap, ...]:
    """Return what was not measured of the trials that ended well, grouped by quantity, with the reasons.

    Trials that ended early miss everything after it: they stand in the table with their reason.
    """
    found: dict[str, dict[str, str]] = {}
    good = rows[rows["status"] == "ok"]
    for row in each(good):
        for column, reason in row["missing"].items():
            # Scenarios stand in a table of their own.
            skipped = reason in (OWN_ROW, NO_GPU) or column.startswith("scenario_") or column in FOLLOWERS
            if not skipped:
                label = LABELS.get(column, column.replace("_", " "))
                found.setdefault(label, {}).setdefault(str(row["trial"]), str(reason))
    return tuple(_gap(name, why, len(good)) for name, why in found.items())


def _gap(name: str, reasons: Mapping[str, str], trials: int) -> Gap:
    if len(reasons) == trials and len(set(reasons.values())) == 1:
        return Gap(name, next(iter(reasons.values())))
    if len(set(reasons.values())) == 1 and len(reasons) > 1:
        return Gap(name, f"{next(iter(reasons.values()))} ({', '.join(reasons)})")
    return Gap(name, "", tuple(Fact(trial, reason) for trial, reason in reasons.items()))


def _workload(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    threads = f"{first['threads']} thread{'s' if first['threads'] != 1 else ''}"
    return f"{first['workload']}, batch {first['batch_size']}, {threads} asked for, {first['device']}"


def _disturbed(timed: pd.DataFrame) -> str:
    first = timed.iloc[0]
    share = first["dirty_rounds"] / first["rounds"] if first["rounds"] else 0.0
    text = f"{first['dirty_rounds']:.0f} ({units.percent(share, 0)}), repeated for all"
    unclean = timed[timed["speedup"].notna() & ~timed["speedup_clean"].astype(bool)]
    if len(unclean):
        text += f"; clean rounds did not suffice for {', '.join(map(str, unclean['trial']))}, so all rounds count there"
    return text


def _outside(timed: pd.DataFrame) -> list[Fact]:
    known = timed[timed["other_cpu_share"].notna()]
    if not len(known):
        return []
    first = known.iloc[0]
    text = (
        f"other programs used {units.percent(first['other_cpu_share'])} and the hypervisor took "
        f"{units.percent(first['steal_share'])} of the measured cores' time"
    )
    if not absent(first["waiting_share"]):
        text += f"; some task of the host waited for a CPU {units.percent(first['waiting_share'])} of the time"
    return [Fact("from outside", text)]


def _used(timed: pd.DataFrame) -> list[Fact]:
    """Return what calls back to back used of the machine, and what is odd about it."""
    facts = []
    known = timed[timed["utilization"].notna()]
    if len(known):
        low, high = (f"{float(getattr(known['utilization'].astype(float), side)()):.2f}" for side in ("min", "max"))
        window = float(known["utilization_window_s"].astype(float).median())
        text = f"{low if low == high else f'{low} to {high}'} cores, in {window:.2g} s of calls back to back"
        text += _disturbed_use(known)
        odd = [
            f"{row['trial']} {row['utilization_note']}" for row in each(known) if not absent(row["utilization_note"])
        ]
        facts.append(Fact("CPU use", "; ".join([text, *odd])))
    counted = timed[timed["energy_j"].notna()]
    if len(counted):
        first = counted.iloc[0]
        facts.append(Fact("energy", f"from {first['energy_source']}: {first['energy_scope']}"))
    leaks = [f"{row['trial']} {row['leak_note']}" for row in each(timed) if not absent(row["leak_note"])]
    return facts + ([Fact("memory", "; ".join(leaks))] if leaks else [])


def _disturbed_use(known: pd.DataFrame) -> str:
    """Say how many trials were disturbed from outside while their use of the machine was watched."""
    count = int(known["utilization_disturbed"].astype(bool).sum())
    return f" ({count} of {len(known)} disturbed from outside)" if count else ""


def _scopes(timed: pd.DataFrame) -> list[Fact]:
    if not (timed["speedup_scope"] == "process").any():
        return []
    return [Fact("scope", "too few replicates: the intervals speak of these very processes only")]


def _noise(entries: object) -> str:
    """Show the A/A measurements that the run found for its host, one a thread count."""
    if not isinstance(entries, Sequence) or not entries:
        return NO_NOISE
    return "; ".join(_noise_entry(noise_from_json(entry)) for entry in entries)


def _noise_entry(noise: Noise) -> str:
    threads = f"{noise.threads} thread{'s' if noise.threads != 1 else ''}"
    quiet = "" if noise.clean else ", on a disturbed host"
    return (
        f"{threads}: standard deviation {units.percent(noise.within)} of a block, {units.percent(noise.between)} of a "
        f"process ({noise.processes} processes of {noise.model} on {noise.backend}, {noise.measured_at[:10]}{quiet})"
    )


def _neighbors(found: object) -> str | None:
    if not isinstance(found, Mapping):
        return None
    named = [f"{n['name']} {n['cores']:.1f}" for n in found.get("neighbors", [])[:3]]
    text = f"used {float(found['used']):.1f} of {found['cores']} cores"
    return f"{text} ({', '.join(named)})" if named else text


def _peaks_entry(peaks: Peaks) -> str:
    threads = f"{peaks.threads} thread{'s' if peaks.threads != 1 else ''}"
    rates = [f"{a.format} {units.rate(a.flops_per_s, operations(a.format))}" for a in peaks.arithmetic]
    passed = [f"{level_name(b, peaks)} {units.rate(b.bytes_per_s, 'B/s')}" for b in (peaks.bandwidths[0], peaks.memory)]
    busy = ", on a disturbed host, so they may be too low" if peaks.busy else ""
    return f"{threads}: {', '.join([*rates, *passed])} ({peaks.measured_at[:10]}{busy})"


def _floor(timed: pd.DataFrame) -> Fact:
    known = timed["noise_floor"].dropna()
    if len(known):
        return Fact("noise floor", f"{units.percent(float(known.max()))}: no verdict claims a smaller difference")
    return Fact("noise floor", str(timed.iloc[0]["missing"].get("noise_floor", NO_NOISE)))


def _join(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _prefixed(prefix: str, value: object) -> str | None:
    return None if value is None or absent(value) else f"{prefix} {value}"


def _date(text: str | None) -> str:
    return (text or "").replace("T", " ").replace("Z", " UTC")
