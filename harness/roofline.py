"""Records and peaks → the columns that say how near each trial came to the limit of its host.

A share above 1 is no finding but a broken assumption; it is missing, with the assumption named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import units
from harness.peaks import Bandwidth, Peaks
from harness.schema import Artifact, Record, Unmeasured, Work
from harness.stats.roofline import Bound, Placed, Roof, place

NOT_MEASURED = "not measured: harness doctor --peaks"
COUNTED = ("flops", "bytes_moved", "arithmetic_intensity")
PLACED = ("attained_flops_per_s", "roofline_format", "roofline_limit_flops_per_s", "roofline_share", "bound_by")
COLUMNS = (*COUNTED, *PLACED)


def roofline_columns(
    record: Record, seconds: float | None, peaks: Mapping[int, Peaks], missing: dict[str, str]
) -> dict[str, Any]:
    """Return the columns of one trial; what is missing is put into ``missing`` with its reason.

    Args:
        seconds: the median latency of one call; None where it was not measured.
        peaks: of the run's host, by thread count.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    work = _work(record)
    if isinstance(work, Unmeasured):
        missing |= dict.fromkeys(COLUMNS, work.reason)
        return row
    flops, moved = work.flops_of(record.trial.batch_size), work.bytes_of(record.trial.batch_size)
    row |= {"flops": flops, "bytes_moved": moved, "arithmetic_intensity": flops / moved}
    if seconds is None:
        missing |= dict.fromkeys(PLACED, "the latency was not measured")
        return row
    row["attained_flops_per_s"] = flops / seconds
    number_format = format_of(record, work)
    found = _roof(record, number_format, moved, peaks)
    if isinstance(found, Unmeasured):
        missing |= dict.fromkeys(PLACED[1:], found.reason)
        return row
    placed = place(flops, moved, seconds, found)
    row |= {"roofline_format": number_format, "roofline_limit_flops_per_s": placed.limit_flops_per_s}
    if placed.ratio > 1:
        missing |= dict.fromkeys(("roofline_share", "bound_by"), above_one(placed, moved))
        return row
    return {**row, "roofline_share": placed.ratio, "bound_by": str(placed.bound)}


def format_of(record: Record, work: Work) -> str:
    """Return the number format in which a trial computes.

    As its runtime says; where that is no single floating or integer format (a mixture, or a declared input of token
    numbers), that of most of its weights.
    """
    said = str(record.actual.get("precision", "")).partition(" ")[0]  # "bfloat16 autocast", "float32 with int8 weights"
    return said if said in ("float32", "bfloat16", "float16", "int8") else work.weight_format


def roof_of(peaks: Peaks, number_format: str, moved: float) -> Roof | Unmeasured:
    """Return the roof over calls in a number format that move so many bytes."""
    best = peaks.of(number_format)
    if best is None:
        return Unmeasured(peaks.missing.get(number_format, f"no peak of {number_format} is measured here"))
    passed = peaks.bandwidth_for(moved)
    return Roof(best.flops_per_s, passed.bytes_per_s, level_name(passed, peaks))


def level_name(passed: Bandwidth, peaks: Peaks) -> str:
    """Return ``memory``, or the size of data that a bandwidth was measured with."""
    return "memory" if passed == peaks.memory else f"data of {units.size(passed.working_set_bytes)}"


def above_one(placed: Placed, moved: float) -> str:
    """Say which assumption cannot hold where a call attains more than its limit."""
    share = f"{100 * placed.ratio:.0f} % of the limit, so an assumption does not hold"
    slow = "the peaks were measured while the host was slower (repeat harness doctor --peaks)"
    if placed.side is Bound.MEMORY:
        return f"{share}: the {units.size(moved)} of a call stay in a cache, or {slow}"
    return f"{share}: the runtime does fewer operations than were counted (as Winograd's convolutions do), or {slow}"


def _work(record: Record) -> Work | Unmeasured:
    artifact = record.artifact
    return artifact.work if isinstance(artifact, Artifact) else artifact


def _roof(record: Record, number_format: str, moved: float, peaks: Mapping[int, Peaks]) -> Roof | Unmeasured:
    trial = record.trial
    if trial.device != "cpu":
        return Unmeasured("peaks are measured for the CPU only")
    if not peaks:
        return Unmeasured(NOT_MEASURED)
    if trial.threads not in peaks:
        return Unmeasured(
            f"not measured for {trial.threads} thread{'s' if trial.threads > 1 else ''}: "
            f"harness doctor --peaks --threads {trial.threads}"
        )
    return roof_of(peaks[trial.threads], number_format, moved)
