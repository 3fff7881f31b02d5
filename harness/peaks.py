"""The peaks measured on a host: one JSON file a thread count, ``<cache>/peaks/<host>/threads-<n>.json``.

``harness doctor --peaks`` writes it and ``harness run`` copies what it finds into ``run.json``, so a run's place under
the roofline never changes with a later measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import host_files

KIND = "peaks"


@dataclass(frozen=True)
class Arithmetic:
    """The fastest product of two square matrices that was found for one number format.

    Attributes:
        format: as in the column ``precision_actual``.
        flops_per_s: operations a second, a multiply-add counts two; of integers too.
        kernel: what computed it, such as ``torch.matmul``.
        size: rows of the matrices.
    """

    format: str
    flops_per_s: float
    kernel: str
    size: int


@dataclass(frozen=True)
class Bandwidth:
    """The fastest pass over data of one size: the smaller the data, the nearer the cache that holds it.

    Attributes:
        working_set_bytes: what was passed over, again and again, by all threads together.
        bytes_per_s: read and written.
        kernel: ``copy`` or ``dot``.
    """

    working_set_bytes: int
    bytes_per_s: float
    kernel: str


@dataclass(frozen=True)
class Peaks:
    """What a host attains at most with a number of threads, best of several repeats.

    Attributes:
        host: id of the host; peaks of another one say nothing.
        measured_at: UTC, ISO 8601.
        missing: number format → why it has no peak.
        busy: whether other processes used the measured cores meanwhile, so that the peaks may be too low.
    """

    host: str
    threads: int
    measured_at: str
    harness: str
    arithmetic: tuple[Arithmetic, ...]
    bandwidths: tuple[Bandwidth, ...]
    missing: dict[str, str]
    versions: dict[str, str]
    busy: bool

    def of(self, number_format: str) -> Arithmetic | None:
        """Return the peak of a number format; None when it has none."""
        return next((a for a in self.arithmetic if a.format == number_format), None)

    @property
    def memory(self) -> Bandwidth:
        """The bandwidth of memory itself: of data that no cache holds."""
        return max(self.bandwidths, key=lambda b: b.working_set_bytes)

    def bandwidth_for(self, moved_bytes: float) -> Bandwidth:
        """Return the fastest bandwidth that calls which move so many bytes may hope for.

        That of the largest data measured which is not larger, or of larger data where that was faster still.
        """
        sizes = sorted(b.working_set_bytes for b in self.bandwidths)
        reached = max((size for size in sizes if size <= moved_bytes), default=sizes[0])
        return max((b for b in self.bandwidths if b.working_set_bytes >= reached), key=lambda b: b.bytes_per_s)


def operations(number_format: str) -> str:
    """Return the unit in which a number format's rate is written: integers have no floating point."""
    return "FLOP/s" if "float" in number_format else "op/s"


def keep(peaks: Peaks, root: Path | None = None) -> Path:
    """Write a measurement, in place of an earlier one of as many threads, and return the file."""
    return host_files.keep(KIND, peaks.host, peaks.threads, asdict(peaks), root)


def stored(host: str, root: Path | None = None) -> list[Peaks]:
    """Return a host's measurements by thread count; empty when there are none. Raises StoreError for a damaged file."""
    found = host_files.stored(KIND, host, peaks_from_json, root)
    return sorted(found, key=lambda peaks: peaks.threads)


def stored_json(host: str, root: Path | None = None) -> list[dict[str, Any]]:
    """Return ``stored`` ready for run.json."""
    return [asdict(peaks) for peaks in stored(host, root)]


def peaks_of(header: Mapping[str, Any]) -> dict[int, Peaks]:
    """Return the peaks in a run's header by thread count, its own host's only. Raises ValueError when damaged."""
    entries = [peaks_from_json(entry) for entry in header.get(KIND, [])]
    return {entry.threads: entry for entry in entries if entry.host == header["host"]["id"]}


def peaks_from_json(document: Any) -> Peaks:
    """Read one entry; keys of a newer version are passed over. Raises ValueError when it is none."""
    try:
        peaks = Peaks(
            **{
                **_known(Peaks, document),
                "arithmetic": tuple(Arithmetic(**_known(Arithmetic, a)) for a in document["arithmetic"]),
                "bandwidths": tuple(Bandwidth(**_known(Bandwidth, b)) for b in document["bandwidths"]),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"a measurement of peaks is not complete: {error}") from error
    rates = [*(a.flops_per_s for a in peaks.arithmetic), *(b.bytes_per_s for b in peaks.bandwidths)]
    if not peaks.bandwidths or not all(isinstance(rate, (int, float)) and 0 < rate < math.inf for rate in rates):
        raise ValueError("a measurement of peaks has a rate that is none")
    return peaks


def _known(kind: type, document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
