"""The noise measured on a host: one JSON file a thread count, ``<cache>/noise/<host>/threads-<n>.json``.

``harness doctor --noise`` writes it, ``harness run`` copies what it finds into ``run.json``, and the verdicts
of that run are held to it. So a run's verdicts never change with a later measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness import host_files

KIND = "noise"


@dataclass(frozen=True)
class Noise:
    """One measurement of a host's noise; spreads are standard deviations on the log scale.

    Attributes:
        host: id of the host; measurements of another one say nothing.
        measured_at: UTC, ISO 8601.
        model, backend, batch_size, block_s: what the A/A timed.
        processes, replicates, rounds: over all replicates, as used.
        dirty_rounds: taken in all and disturbed from outside; ``clean`` when they were left out.
        within, between: of a block against its process and round; of one process against another.
        between_low, between_high: 95 % interval of ``between``.
    """

    host: str
    threads: int
    measured_at: str
    harness: str
    model: str
    backend: str
    batch_size: int
    block_s: float
    processes: int
    replicates: int
    rounds: int
    dirty_rounds: int
    clean: bool
    within: float
    between: float
    between_low: float
    between_high: float


def noise_folder(host: str, root: Path | None = None) -> Path:
    """Return where a host's measurements lie; ``root`` is the cache, by default the user's."""
    return host_files.folder_of(KIND, host, root)


def keep(noise: Noise, root: Path | None = None) -> Path:
    """Write a measurement, in place of an earlier one of as many threads, and return the file."""
    return host_files.keep(KIND, noise.host, noise.threads, asdict(noise), root)


def stored(host: str, root: Path | None = None) -> list[Noise]:
    """Return a host's measurements by thread count; empty when there are none. Raises StoreError for a damaged file."""
    found = host_files.stored(KIND, host, noise_from_json, root)
    return sorted(found, key=lambda noise: noise.threads)


def stored_json(host: str, root: Path | None = None) -> list[dict[str, Any]]:
    """Return ``stored`` ready for run.json."""
    return [asdict(noise) for noise in stored(host, root)]


def noise_from_json(document: Any) -> Noise:
    """Read one entry; keys of a newer version are passed over. Raises ValueError when it is none."""
    names = [field.name for field in fields(Noise)]
    if not isinstance(document, Mapping):
        raise ValueError("a noise measurement is a JSON object")
    missing = [name for name in names if name not in document]
    if missing:
        raise ValueError(f"a noise measurement lacks {', '.join(missing)}")
    noise = Noise(**{name: document[name] for name in names})
    for name in ("within", "between", "between_low", "between_high"):
        value = getattr(noise, name)
        if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{name} of a noise measurement is {value!r}")
    return noise
