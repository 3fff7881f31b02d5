"""Energy of CPU packages and their DRAM from the kernel's RAPL counters below /sys/class/powercap.

Layout and units: Documentation/power/powercap/powercap.rst. A counter counts microjoules and starts again at 0
after ``max_energy_range_uj``, at 200 W about every five minutes, so it must be read more often than that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.host.tree import read_text
from harness.schema import Unmeasured

POWERCAP = "sys/class/powercap"
PERIOD_S = 0.001  # the hardware updates its counters about every millisecond (Intel SDM volume 3, 16.10)
NONE_HERE = (
    f"/{POWERCAP} has no intel-rapl: this kernel or virtual machine gives no energy counter; "
    "measure on the bare machine, with the module intel_rapl_msr loaded"
)


@dataclass(frozen=True)
class Domain:
    """One counter: its name, its folder below the root, and where it starts again; None where that is not said."""

    name: str
    folder: str
    range_uj: int | None


@dataclass
class RaplCounter:
    """The sum of all packages and their DRAM since the first reading."""

    root: Path
    domains: tuple[Domain, ...]
    period_s: float = PERIOD_S
    scope: str = (
        "whole CPU packages and their DRAM where it is counted, everything else that runs there and idle included"
    )
    _last_uj: dict[str, int] = field(default_factory=dict)
    _total_uj: int = 0

    @property
    def source(self) -> str:
        """The counters' names, such as ``rapl:package-0+dram``."""
        return "rapl:" + "+".join(domain.name for domain in self.domains)

    def joules(self) -> float | Unmeasured:
        """Return joules since the first reading, or why a counter cannot be read."""
        for domain in self.domains:
            now_uj = _counter_uj(self.root, domain.folder)
            if isinstance(now_uj, Unmeasured):
                return now_uj
            step_uj = now_uj - self._last_uj.get(domain.folder, now_uj)
            if step_uj < 0:
                if domain.range_uj is None:
                    return Unmeasured(f"the counter {domain.name} started again, and the kernel does not say where")
                step_uj += domain.range_uj + 1  # the value after the largest is 0
            self._last_uj[domain.folder] = now_uj
            self._total_uj += step_uj
        return self._total_uj / 1e6


def find_rapl(root: Path) -> RaplCounter | Unmeasured:
    """Return the counter of all packages, or why there is none; the first unreadable counter is the reason.

    ``psys`` and ``intel-rapl-mmio`` are left out: they count the packages once more.
    """
    base = root / POWERCAP
    domains = []
    for folder in sorted(base.glob("intel-rapl:*")):
        place = f"{POWERCAP}/{folder.name}"
        name = read_text(root, f"{place}/name")
        if isinstance(name, Unmeasured) or not name.startswith(("package", "dram")):
            continue
        value = _counter_uj(root, place)
        if isinstance(value, Unmeasured):
            return value
        most = read_text(root, f"{place}/max_energy_range_uj")
        known = isinstance(most, str) and most.isdigit()
        domains.append(Domain(name, place, int(most) if known else None))  # type: ignore[arg-type]
    if not any(domain.name.startswith("package") for domain in domains):
        return Unmeasured(NONE_HERE)
    return RaplCounter(root, tuple(domains))


def _counter_uj(root: Path, folder: str) -> int | Unmeasured:
    path = f"{folder}/energy_uj"
    text = read_text(root, path)
    if isinstance(text, Unmeasured):
        denied = "Permission denied" in text.reason
        remedy = f"; run as root, or let everyone read it: sudo chmod a+r /{path}" if denied else ""
        return Unmeasured(text.reason + remedy)
    if not text.isdigit():
        return Unmeasured(f"/{path} holds {text[:40]!r}, no number")
    return int(text)
