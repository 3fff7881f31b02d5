from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.host.facts import HostFacts, host_facts
from harness.schema import Unmeasured
from tests.host.fake_root import CPUS, write_root

NO_GPU = Unmeasured("none found: a test")


def facts_of(folder: Path, changes: dict[str, str | None] | None = None) -> HostFacts:
    return host_facts(write_root(folder, **(changes or {})), gpus=lambda _: NO_GPU)


def test_a_quiet_machine_is_read_completely(tmp_path: Path) -> None:
    facts = facts_of(tmp_path)
    cpu = facts.cpu
    assert cpu.model == "Fake(R) CPU @ 2.0GHz"
    assert (cpu.usable_cores, cpu.physical_cores, cpu.smt_siblings) == ((0, 1), 2, ())
    assert cpu.flags_present == ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni")
    assert "amx_int8" in cpu.flags_missing  # type: ignore[operator]
    assert "sve" not in cpu.flags_missing  # type: ignore[operator]  # an x86 CPU does not lack an ARM flag
    assert (cpu.governor, cpu.boost, cpu.virtualization) == ("performance", False, "")
    assert (cpu.steal_share, cpu.clock_source) == (0.0, "tsc")
    memory = facts.memory
    assert (memory.total_bytes, memory.available_bytes) == (16_000_000 * 1024, 12_000_000 * 1024)
    assert (memory.swap_used_bytes, memory.numa_nodes, memory.huge_pages) == (0, 1, "madvise")
    assert (facts.load.average_1m, facts.load.cpu_pressure, facts.load.autogroup) == (0.05, 0.005, False)
    assert (facts.limits.cpu_cores, facts.limits.memory_bytes) == (None, None)


def test_of_an_empty_tree_nothing_is_guessed(tmp_path: Path) -> None:
    facts = host_facts(tmp_path, gpus=lambda _: NO_GPU)
    unread: list[tuple[str, Any]] = []
    for part in (facts.cpu, facts.memory, facts.load, facts.limits):
        unread += [(f.name, getattr(part, f.name)) for f in dataclasses.fields(part)]
    for name, value in unread:
        if name != "flags_present":
            assert isinstance(value, Unmeasured), name
            assert value.reason
    assert facts.load.average_1m == Unmeasured("/proc/loadavg does not exist")


def test_a_folder_in_a_files_place_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "proc/loadavg").mkdir(parents=True)
    average = host_facts(tmp_path, gpus=lambda _: NO_GPU).load.average_1m
    assert average == Unmeasured("/proc/loadavg: Is a directory")


def test_only_siblings_that_may_be_used_count(tmp_path: Path) -> None:
    shared = {f"{CPUS}/cpu0/topology/thread_siblings_list": "0,4", f"{CPUS}/cpu1/topology/thread_siblings_list": "1,5"}
    assert facts_of(tmp_path / "a", shared).cpu.smt_siblings == ()
    pair = {f"{CPUS}/cpu{core}/topology/thread_siblings_list": "0-1" for core in (0, 1)}
    cpu = facts_of(tmp_path / "b", pair).cpu
    assert (cpu.smt_siblings, cpu.physical_cores) == (((0, 1),), 1)


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    cpu = facts_of(tmp_path, {f"{CPUS}/cpu1/cpufreq/scaling_governor": "powersave"}).cpu
    assert cpu.governor == "performance, powersave"


def test_intels_own_switch_tells_boost_first(tmp_path: Path) -> None:
    assert facts_of(tmp_path, {f"{CPUS}/intel_pstate/no_turbo": "0"}).cpu.boost is True


def test_a_virtual_machine_says_what_tells_so(tmp_path: Path) -> None:
    changes = {
        "proc/cpuinfo": "flags : avx2 hypervisor\n",
        "sys/class/dmi/id/sys_vendor": "Amazon EC2\n",
        "sys/class/dmi/id/product_name": "c5.large\n",
    }
    assert facts_of(tmp_path, changes).cpu.virtualization == ("the CPU has the flag 'hypervisor', Amazon EC2, c5.large")


def test_an_arm_core_lacks_arm_flags_only_and_does_not_tell_of_a_hypervisor(tmp_path: Path) -> None:
    cpu = facts_of(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\n"}).cpu
    assert (cpu.flags_present, cpu.flags_missing) == (("asimd", "asimddp"), ("i8mm", "bf16", "sve"))
    assert isinstance(cpu.model, Unmeasured)
    assert isinstance(cpu.virtualization, Unmeasured)


def test_steal_is_a_share_of_all_time_since_boot(tmp_path: Path) -> None:
    cpu = facts_of(tmp_path, {"proc/stat": "cpu  100 0 0 800 0 0 0 100 50 0\n"}).cpu
    assert cpu.steal_share == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "cores"),
    [
        ({"sys/fs/cgroup/user.slice/job/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/user.slice/cpu.max": "50000 100000"}, 0.5),  # an ancestor's limit holds too
        # In a container the group's own path is not visible, its root is.
        ({"proc/self/cgroup": "0::/docker/abc", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_the_tightest_cpu_quota_counts(tmp_path: Path, changes: dict[str, str | None], cores: float | None) -> None:
    assert facts_of(tmp_path, changes).limits.cpu_cores == cores


def test_a_memory_limit_is_read_and_version_ones_word_for_none_understood(tmp_path: Path) -> None:
    assert facts_of(tmp_path / "a", {"sys/fs/cgroup/user.slice/job/memory.max": "1000"}).limits.memory_bytes == 1000
    old = {"proc/self/cgroup": "4:memory:/", "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}
    assert facts_of(tmp_path / "b", old).limits.memory_bytes is None


def test_a_limit_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/user.slice/job/cpu.max").mkdir(parents=True)
    limits = facts_of(tmp_path, {"sys/fs/cgroup/user.slice/job/cpu.max": None}).limits
    assert limits.cpu_cores == Unmeasured("/cpu.max: Is a directory")


def test_this_hosts_own_tree_is_read_without_an_error() -> None:
    facts = host_facts(gpus=lambda _: NO_GPU)
    assert isinstance(facts.memory.total_bytes, int)
