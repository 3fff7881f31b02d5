"""RAPL counters in a /sys that exists on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.energy import EnergyCounter, energy_of
from harness.measure.rapl import POWERCAP, RaplCounter, find_rapl
from harness.schema import Energy, Unmeasured

RANGE = 262_143_328_850
PLACES = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "dram",
    "intel-rapl:1": "psys",
    "intel-rapl-mmio:0": "package-0",
}


def write(root: Path, **uj: int | str) -> None:
    """Write all counters; ``uj`` gives values by the domain's name."""
    for place, name in PLACES.items():
        folder = root / POWERCAP / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
        (folder / "energy_uj").write_text(f"{uj.get(name.replace('-', '_'), 5)}\n")


def counter(root: Path) -> RaplCounter:
    found = find_rapl(root)
    assert isinstance(found, RaplCounter)
    return found


def reason(value: object) -> str:
    assert isinstance(value, Unmeasured)
    return value.reason


def test_packages_and_their_dram_count_and_what_would_count_twice_does_not(tmp_path: Path) -> None:
    write(tmp_path, package_0=1_000_000, dram=500_000)
    rapl = counter(tmp_path)
    assert rapl.source == "rapl:package-0+dram"
    assert rapl.joules() == 0.0  # since the first reading
    write(tmp_path, package_0=4_000_000, dram=700_000, core=9_000_000, psys=9_000_000)
    assert rapl.joules() == pytest.approx(3.2)


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    write(tmp_path, package_0=RANGE - 999_999)
    rapl = counter(tmp_path)
    rapl.joules()
    write(tmp_path, package_0=2_000_000)
    assert rapl.joules() == pytest.approx(3.0)
    write(tmp_path, package_0=1_000_000)  # and once more around
    assert rapl.joules() == pytest.approx(3.0 + (RANGE + 1 - 1_000_000) / 1e6)


def test_a_counter_that_starts_again_nobody_knows_where_is_unmeasured(tmp_path: Path) -> None:
    write(tmp_path, package_0=100)
    (tmp_path / POWERCAP / "intel-rapl:0" / "max_energy_range_uj").unlink()
    rapl = counter(tmp_path)
    rapl.joules()
    write(tmp_path, package_0=50)
    assert "started again, and the kernel does not say where" in reason(rapl.joules())


def test_a_host_without_counters_says_so(tmp_path: Path) -> None:
    assert "has no intel-rapl: this kernel or virtual machine gives no energy counter" in reason(find_rapl(tmp_path))
    folder = tmp_path / POWERCAP / "intel-rapl:0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("psys\n")
    assert "has no intel-rapl" in reason(find_rapl(tmp_path))


def test_a_counter_for_root_only_says_how_to_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    read = Path.read_text

    def refuse(self: Path, *args: object, **kwargs: object) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)  # root, who may run the tests, can read everything
    assert reason(find_rapl(tmp_path)) == (
        f"/{POWERCAP}/intel-rapl:0/energy_uj: Permission denied; run as root, or let everyone read it: "
        f"sudo chmod a+r /{POWERCAP}/intel-rapl:0/energy_uj"
    )


def test_a_counter_that_vanishes_or_holds_no_number_is_unmeasured(tmp_path: Path) -> None:
    write(tmp_path)
    rapl = counter(tmp_path)
    write(tmp_path, package_0="")
    assert "no number" in reason(rapl.joules())
    (tmp_path / POWERCAP / "intel-rapl:0" / "energy_uj").unlink()
    assert "does not exist" in reason(rapl.joules())


class Counter:
    source, scope, period_s = "fake", "the whole machine", 0.1

    def joules(self) -> float | Unmeasured:
        raise NotImplementedError


def energy(readings: list[float | Unmeasured], window_s: float = 2.5, examples: int = 10) -> Energy | Unmeasured:
    fake: EnergyCounter = Counter()
    return energy_of(readings, fake, window_s, examples)


def test_energy_is_the_counters_way_from_first_to_last_reading() -> None:
    assert energy([5.0, 6.0, 9.0]) == Energy(0.4, 4.0, 2.5, 10, "fake", "the whole machine")


def test_energy_is_never_zero_for_unknown() -> None:
    assert "did not move in 2.5 s" in reason(energy([5.0, 5.0]))
    assert "too short for fake, which is updated every 0.1 s and needs 2 s" in reason(energy([5.0, 9.0], window_s=1.9))
    assert "too few" in reason(energy([5.0]))
    assert "too few" in reason(energy([5.0, 9.0], examples=0))
    assert "went back" in reason(energy([5.0, 9.0, 1.0]))
    assert reason(energy([5.0, Unmeasured("GPU is lost"), 9.0])) == "GPU is lost"
