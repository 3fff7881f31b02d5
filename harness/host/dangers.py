"""What about a host endangers a measurement, each with its remedy. Pure: facts in, dangers out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.host.facts import Cpu, HostFacts, Load, Memory
from harness.host.limits import Limits
from harness.schema import Unmeasured
from harness.units import percent

BUSY_LOAD = 0.5  # runnable tasks on average: half a core is somebody else's
BUSY_PRESSURE = 0.05
STEAL_SHARE = 0.01
SWAPPED_SHARE = 0.01  # of memory; a few idle pages are swapped out on every long-running host
SCARCE_SHARE = 0.10
SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies")  # a read costs a system call or a bus access


@dataclass(frozen=True)
class Danger:
    """One thing that endangers a measurement, in words, and what helps."""

    name: str
    what: str
    remedy: str


def dangers(facts: HostFacts) -> list[Danger]:
    """Return what endangers a measurement on this host, the moment's dangers first."""
    return [
        *_busy(facts.load),
        *_scarce(facts.memory),
        *_limited(facts.limits, facts.cpu),
        *_processor(facts.cpu, facts.load),
        *_layout(facts.memory),
    ]


def _busy(load: Load) -> Iterator[Danger]:
    busy = _above(load.average_1m, BUSY_LOAD)
    if busy or _above(load.cpu_pressure, BUSY_PRESSURE):
        yield Danger(
            "busy host",
            f"load average {_number(load.average_1m)}, tasks wait for a CPU {_share(load.cpu_pressure)} of the time",
            "end other programs, and measure when the load has gone down",
        )
    if _above(load.io_pressure, BUSY_PRESSURE):
        yield Danger(
            "busy disk",
            f"tasks wait for input or output {_share(load.io_pressure)} of the time",
            "wait until copying or downloading is done, since load times depend on it",
        )


def _scarce(memory: Memory) -> Iterator[Danger]:
    total = memory.total_bytes
    if isinstance(total, Unmeasured):
        return
    if _above(memory.swap_used_bytes, SWAPPED_SHARE * total):
        yield Danger(
            "swap in use",
            "parts of memory are on the disk, and a first touch of them takes milliseconds",
            "end programs that hold memory, then swapoff -a && swapon -a",
        )
    available = memory.available_bytes
    if not isinstance(available, Unmeasured) and available < SCARCE_SHARE * total:
        yield Danger(
            "memory is short",
            f"only {percent(available / total)} is available, and all workers of an experiment stay loaded",
            "end programs that hold memory",
        )


def _limited(limits: Limits, cpu: Cpu) -> Iterator[Danger]:
    quota, cores = limits.cpu_cores, cpu.usable_cores
    if isinstance(quota, (Unmeasured, type(None))) or isinstance(cores, Unmeasured) or quota >= len(cores):
        return
    yield Danger(
        "CPU quota",
        f"the container may use {quota:g} of {len(cores)} cores: when the quota is spent it stands still until the "
        "next period",
        "lift the quota (docker run without --cpus) and choose cores with --cpuset-cpus instead",
    )


def _processor(cpu: Cpu, load: Load) -> Iterator[Danger]:
    if load.autogroup is True:
        yield Danger(
            "autogroup",
            "the scheduler shares the CPU between sessions, so nice protects nothing from another session's program",
            "sysctl kernel.sched_autogroup_enabled=0, or end other programs instead of making them nice",
        )
    if isinstance(cpu.governor, str) and cpu.governor != "performance":
        yield Danger(
            "governor",
            f"the clock follows the load (governor {cpu.governor}), so a short block runs slower than a long one",
            "cpupower frequency-set -g performance",
        )
    if cpu.boost is True:
        yield Danger(
            "boost",
            "the clock depends on heat and on how many cores work",
            "echo 0 > /sys/devices/system/cpu/cpufreq/boost (intel_pstate: echo 1 > .../no_turbo) while measuring",
        )
    if not isinstance(cpu.smt_siblings, Unmeasured) and cpu.smt_siblings:
        pairs = " and ".join("+".join(map(str, group)) for group in cpu.smt_siblings[:2])
        yield Danger(
            "SMT siblings",
            f"logical cores share a physical one ({pairs}{' …' if len(cpu.smt_siblings) > 2 else ''}), and slow each "
            "other down",
            "echo off > /sys/devices/system/cpu/smt/control, or start the harness under taskset with one of each pair",
        )
    if isinstance(cpu.virtualization, str) and cpu.virtualization:
        yield Danger(
            "virtual machine",
            "neighbors on the same hardware take cache, memory bandwidth and clock unseen",
            "measure the noise floor (harness doctor --noise), or take a machine of your own for small differences",
        )
    if _above(cpu.steal_share, STEAL_SHARE):
        yield Danger(
            "steal",
            f"the hypervisor gave {_share(cpu.steal_share)} of the CPU time since boot to others",
            "take an instance with dedicated cores",
        )
    if not isinstance(cpu.usable_cores, Unmeasured) and len(cpu.usable_cores) == 1:
        yield Danger(
            "one core",
            "the coordinator and the system run on the measured core",
            "allow the harness a second core",
        )
    if isinstance(cpu.clock_source, str) and cpu.clock_source in SLOW_CLOCKS:
        yield Danger(
            "slow clock",
            f"reading the time ({cpu.clock_source}) costs about a microsecond, which short calls feel",
            "boot with a clock source of the CPU's own (clocksource=tsc)",
        )


def _layout(memory: Memory) -> Iterator[Danger]:
    if _above(memory.numa_nodes, 1):
        yield Danger(
            "NUMA",
            f"memory lies on {memory.numa_nodes} nodes, and a process may be far from its own",
            "numactl --cpunodebind=0 --membind=0 harness run …",
        )
    if memory.huge_pages == "always":
        yield Danger(
            "huge pages",
            "the kernel merges pages when it finds time, which changes speed and peak memory between processes",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )


def _above(value: float | Unmeasured, limit: float) -> bool:
    return not isinstance(value, Unmeasured) and value > limit


def _number(value: float | Unmeasured) -> str:
    return "unknown" if isinstance(value, Unmeasured) else f"{value:.2f}"


def _share(value: float | Unmeasured) -> str:
    return "an unknown part" if isinstance(value, Unmeasured) else percent(value)
