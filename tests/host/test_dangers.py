from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.dangers import dangers
from harness.host.facts import host_facts
from harness.schema import Unmeasured
from tests.host.fake_root import CPUS, write_root

MEMORY = "MemTotal: 1000 kB\nMemAvailable: {available} kB\nSwapTotal: 1000 kB\nSwapFree: {free} kB\n"
ENDANGERED: dict[str, dict[str, str | None]] = {
    "busy host": {"proc/loadavg": "1.50 1.0 1.0 2/100 1"},
    "busy disk": {"proc/pressure/io": "some avg10=50.00 avg60=0.00 avg300=0.00 total=0"},
    "swap in use": {"proc/meminfo": MEMORY.format(available=500, free=900)},
    "memory is short": {"proc/meminfo": MEMORY.format(available=50, free=1000)},
    "CPU quota": {"sys/fs/cgroup/user.slice/job/cpu.max": "150000 100000"},
    "autogroup": {"proc/sys/kernel/sched_autogroup_enabled": "1"},
    "governor": {f"{CPUS}/cpu1/cpufreq/scaling_governor": "powersave"},
    "boost": {f"{CPUS}/cpufreq/boost": "1"},
    "SMT siblings": {f"{CPUS}/cpu{core}/topology/thread_siblings_list": "0-1" for core in (0, 1)},
    "virtual machine": {"proc/cpuinfo": "flags : avx2 hypervisor"},
    "steal": {"proc/stat": "cpu  100 0 0 800 0 0 0 100 0 0"},
    "one core": {"proc/self/status": "Cpus_allowed_list: 1"},
    "slow clock": {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
    "NUMA": {"sys/devices/system/node/node1/cpulist": ""},
    "huge pages": {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"},
}


def names(root: Path) -> list[str]:
    return [danger.name for danger in dangers(host_facts(root, gpus=lambda _: Unmeasured("none")))]


def test_nothing_endangers_a_quiet_machine(tmp_path: Path) -> None:
    assert names(write_root(tmp_path)) == []


def test_what_cannot_be_read_is_no_danger(tmp_path: Path) -> None:
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ENDANGERED)
def test_each_danger_is_found_alone_and_has_a_remedy(tmp_path: Path, name: str) -> None:
    root = write_root(tmp_path, **ENDANGERED[name])
    [danger] = dangers(host_facts(root, gpus=lambda _: Unmeasured("none")))
    assert danger.name == name
    assert danger.what
    assert danger.remedy


def test_pressure_alone_shows_a_busy_host(tmp_path: Path) -> None:
    pressed = {"proc/pressure/cpu": "some avg10=20.00 avg60=0.00 avg300=0.00 total=0"}
    assert names(write_root(tmp_path, **pressed)) == ["busy host"]


def test_a_quota_of_all_cores_and_a_few_swapped_pages_are_no_danger(tmp_path: Path) -> None:
    harmless: dict[str, str | None] = {
        "sys/fs/cgroup/user.slice/job/cpu.max": "200000 100000",
        "proc/meminfo": MEMORY.format(available=500, free=995),
    }
    assert names(write_root(tmp_path, **harmless)) == []
