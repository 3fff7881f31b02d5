"""What the doctor finds: the host and its dangers, libraries, backends, and where things lie."""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.backends import BACKENDS
from harness.backends.base import distribution_versions
from harness.cache import default_root
from harness.catalog import backend_unavailable
from harness.environment import describe, host_fingerprint
from harness.host.dangers import Danger, dangers
from harness.host.facts import ROOT, HostFacts, host_facts
from harness.noise import Noise, stored
from harness.passes import PASSES
from harness.peaks import Peaks
from harness.peaks import stored as stored_peaks
from harness.schema import Unmeasured
from harness.stats.noise import floor
from harness.suite import Measure

LOCK_FILE = "optimization-harness.lock"  # as harness.reserve.host_lock names it; a test holds them together
GENERAL = ("numpy", "scipy", "pandas", "pyarrow", "pydantic", "psutil", "scikit-learn", "nvidia-ml-py")


@dataclass(frozen=True)
class Places:
    """Where things lie, and how large the cache is."""

    results: Path
    cache: Path
    cache_bytes: int
    lock: Path


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor found.

    Attributes:
        versions: distribution → version, or None where it is not installed.
        backends: name → why it cannot be used, or None when it can.
        noise: what ``harness doctor --noise`` measured on this host before, by thread count.
        peaks: what ``harness doctor --peaks`` measured, in the same way.
    """

    host: str
    description: str
    facts: HostFacts
    dangers: tuple[Danger, ...]
    versions: Mapping[str, str | None]
    backends: Mapping[str, str | None]
    places: Places
    noise: tuple[Noise, ...]
    peaks: tuple[Peaks, ...] = ()

    @property
    def can_measure(self) -> bool:
        """Whether any backend can be used."""
        return any(reason is None for reason in self.backends.values())


def diagnose(root: Path = ROOT) -> Diagnosis:
    """Look at everything; ``root`` is where /proc and /sys of the facts are read."""
    host = host_fingerprint()
    facts = host_facts(root)
    backends = [name for name in BACKENDS if name != "fake"]  # that one is for the selftest
    return Diagnosis(
        host=host["id"],
        description=describe(host),
        facts=facts,
        dangers=tuple(dangers(facts)),
        versions=library_versions(backends),
        backends={name: backend_unavailable(name) for name in backends},
        places=places(),
        noise=tuple(stored(host["id"])),
        peaks=tuple(stored_peaks(host["id"])),
    )


def library_versions(backends: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of everything that a run here may use."""
    names: list[str] = []
    for backend in map(BACKENDS.get, backends):
        names += [*backend.distributions, *(name for needed in backend.forms.values() for name in needed)]
    for name in PASSES:
        item = PASSES.get(name)
        names += [*item.distributions, *(name for needed in item.requires.values() for name in needed)]
    wanted = tuple(dict.fromkeys([*names, *GENERAL]))
    versions, _ = distribution_versions(wanted)
    own = {"optimization-harness": __version__, "python": platform.python_version()}
    return {**own, **{name: versions.get(name) for name in wanted}}


def places() -> Places:
    """Return where results, cache and lock lie for a run started here."""
    cache = default_root()
    return Places(Path("results").absolute(), cache, size_bytes(cache), Path(tempfile.gettempdir()) / LOCK_FILE)


def size_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(directory) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def floors(noise: Noise) -> dict[tuple[int, int], float]:
    """Return (replicates, rounds) → the smallest relative difference resolved, at the budgets of a default run."""
    default = Measure()
    budgets = [(replicates, default.rounds) for replicates in (3, default.replicates, default.max_replicates)]
    return {(k, n): floor(noise.within, noise.between, k, n) for k, n in budgets}


def to_json(value: Any) -> Any:
    """Return a diagnosis or a part of it as JSON-ready values; what could not be read keeps its reason."""
    if isinstance(value, Unmeasured):
        return {"not_readable": value.reason}
    if isinstance(value, Noise):
        resolved = [{"replicates": k, "rounds": n, "floor": least} for (k, n), least in floors(value).items()]
        return {**dataclasses.asdict(value), "resolves": resolved}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
