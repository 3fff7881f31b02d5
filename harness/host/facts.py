"""Reads what matters to a measurement from /proc and /sys.

Everything is read below ``root``, so tests hand in a tree of their own. What cannot be read is an
``Unmeasured`` that says why, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.environment import ARM_FLAGS, X86_FLAGS, cpu_flags, cpuinfo
from harness.host.gpu import Gpu, find_gpus
from harness.host.limits import Limits, read_limits
from harness.host.tree import core_list, read_field, read_text
from harness.schema import Unmeasured

ROOT = Path("/")
KIB = 1024
_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Cpu:
    """The processor as this process may use it.

    Attributes:
        usable_cores: numbers of the logical cores this process may run on.
        physical_cores: how many different cores those are.
        smt_siblings: groups of usable cores that share one physical core; empty when none do.
        flags_present, flags_missing: of the instruction sets that decide which kernels run.
        boost: whether the clock may rise above its nominal value.
        virtualization: what says that this is a virtual machine; empty when nothing does.
        steal_share: share of all CPU time since boot that the hypervisor gave to others.
    """

    model: str | Unmeasured
    usable_cores: tuple[int, ...] | Unmeasured
    physical_cores: int | Unmeasured
    smt_siblings: tuple[tuple[int, ...], ...] | Unmeasured
    flags_present: tuple[str, ...]
    flags_missing: tuple[str, ...] | Unmeasured
    governor: str | Unmeasured
    boost: bool | Unmeasured
    virtualization: str | Unmeasured
    steal_share: float | Unmeasured
    clock_source: str | Unmeasured


@dataclass(frozen=True)
class Memory:
    """Main memory; ``huge_pages`` is the chosen mode of transparent huge pages."""

    total_bytes: int | Unmeasured
    available_bytes: int | Unmeasured
    swap_total_bytes: int | Unmeasured
    swap_used_bytes: int | Unmeasured
    numa_nodes: int | Unmeasured
    huge_pages: str | Unmeasured


@dataclass(frozen=True)
class Load:
    """How busy the host is. Pressures: share of the last ten seconds in which some task waited for it (PSI)."""

    average_1m: float | Unmeasured
    cpu_pressure: float | Unmeasured
    memory_pressure: float | Unmeasured
    io_pressure: float | Unmeasured
    autogroup: bool | Unmeasured


@dataclass(frozen=True)
class HostFacts:
    """Everything the doctor knows of a host."""

    cpu: Cpu
    memory: Memory
    load: Load
    limits: Limits
    gpus: tuple[Gpu, ...] | Unmeasured


def host_facts(root: Path = ROOT, gpus: Callable[[Path], tuple[Gpu, ...] | Unmeasured] = find_gpus) -> HostFacts:
    """Read everything below ``root``."""
    return HostFacts(_cpu(root), _memory(root), _load(root), read_limits(root), gpus(root))


# -- processor ---------------------------------------------------------------------------------------------------


def _cpu(root: Path) -> Cpu:
    usable = _usable_cores(root)
    groups = usable if isinstance(usable, Unmeasured) else _siblings(root, usable)
    flags = cpu_flags(root)
    return Cpu(
        model=cpuinfo("model name", root) or _no_field("model name", root),
        usable_cores=usable,
        physical_cores=groups if isinstance(groups, Unmeasured) else len(groups),
        smt_siblings=groups if isinstance(groups, Unmeasured) else tuple(g for g in groups if len(g) > 1),
        flags_present=flags,
        flags_missing=_missing_flags(root, flags),
        governor=_governor(root),
        boost=_boost(root),
        virtualization=_virtualization(root),
        steal_share=_steal_share(root),
        clock_source=read_text(root, "sys/devices/system/clocksource/clocksource0/current_clocksource"),
    )


def _usable_cores(root: Path) -> tuple[int, ...] | Unmeasured:
    text = read_field(root, "proc/self/status", "Cpus_allowed_list")
    return text if isinstance(text, Unmeasured) else core_list(text)


def _siblings(root: Path, usable: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | Unmeasured:
    """Return the usable cores in groups that share a physical core."""
    groups = set()
    for core in usable:
        text = read_text(root, f"{_CPUS}/cpu{core}/topology/thread_siblings_list")
        if isinstance(text, Unmeasured):
            return text
        groups.add(tuple(c for c in core_list(text) if c in usable))
    return tuple(sorted(groups))


def _missing_flags(root: Path, present: tuple[str, ...]) -> tuple[str, ...] | Unmeasured:
    known = X86_FLAGS if cpuinfo("flags", root) else ARM_FLAGS if cpuinfo("Features", root) else None
    if known is None:
        return _no_field("flags", root)
    return tuple(flag for flag in known if flag not in present)


def _governor(root: Path) -> str | Unmeasured:
    """Return the governors of all cores, each once."""
    files = sorted(root.glob(f"{_CPUS}/cpu[0-9]*/cpufreq/scaling_governor"))
    if not files:
        return read_text(root, f"{_CPUS}/cpu0/cpufreq/scaling_governor")
    texts = [read_text(root, str(file.relative_to(root))) for file in files]
    unreadable = next((t for t in texts if isinstance(t, Unmeasured)), None)
    return unreadable or ", ".join(sorted({str(t) for t in texts}))


def _boost(root: Path) -> bool | Unmeasured:
    no_turbo = read_text(root, f"{_CPUS}/intel_pstate/no_turbo")
    if not isinstance(no_turbo, Unmeasured):
        return no_turbo == "0"
    boost = read_text(root, f"{_CPUS}/cpufreq/boost")
    return boost if isinstance(boost, Unmeasured) else boost == "1"


def _virtualization(root: Path) -> str | Unmeasured:
    flags = cpuinfo("flags", root)
    signs = ["the CPU has the flag 'hypervisor'"] if "hypervisor" in flags.split() else []
    kind = read_text(root, "sys/hypervisor/type")
    vendor = read_text(root, "sys/class/dmi/id/sys_vendor")
    product = read_text(root, "sys/class/dmi/id/product_name")
    signs += [] if isinstance(kind, Unmeasured) else [f"hypervisor {kind}"]
    if signs:
        signs += [text for text in (vendor, product) if isinstance(text, str) and text]
        return ", ".join(signs)
    # Only x86 says so by a flag; elsewhere its absence proves nothing.
    return "" if flags else Unmeasured("this CPU has no flag that would tell, and /sys/hypervisor/type does not exist")


def _steal_share(root: Path) -> float | Unmeasured:
    text = read_text(root, "proc/stat")
    if isinstance(text, Unmeasured):
        return text
    fields = [int(value) for value in text.splitlines()[0].split()[1:9]]
    if len(fields) < 8 or not sum(fields):
        return Unmeasured("/proc/stat does not tell steal")
    return fields[7] / sum(fields)


# -- memory and load ---------------------------------------------------------------------------------------------


def _memory(root: Path) -> Memory:
    def size(name: str) -> int | Unmeasured:
        text = read_field(root, "proc/meminfo", name)
        return text if isinstance(text, Unmeasured) else int(text.split()[0]) * KIB

    total, free = size("SwapTotal"), size("SwapFree")
    if isinstance(total, Unmeasured) or isinstance(free, Unmeasured):
        used: int | Unmeasured = total if isinstance(total, Unmeasured) else free
    else:
        used = total - free
    nodes = list(root.glob("sys/devices/system/node/node[0-9]*"))
    return Memory(
        total_bytes=size("MemTotal"),
        available_bytes=size("MemAvailable"),
        swap_total_bytes=total,
        swap_used_bytes=used,
        numa_nodes=len(nodes) or Unmeasured("/sys/devices/system/node lists no nodes"),
        huge_pages=_chosen(read_text(root, "sys/kernel/mm/transparent_hugepage/enabled")),
    )


def _chosen(text: str | Unmeasured) -> str | Unmeasured:
    """Return the word in brackets of a choice such as ``always [madvise] never``."""
    if isinstance(text, Unmeasured):
        return text
    return next((word.strip("[]") for word in text.split() if word.startswith("[")), text)


def _load(root: Path) -> Load:
    average = read_text(root, "proc/loadavg")
    autogroup = read_text(root, "proc/sys/kernel/sched_autogroup_enabled")
    return Load(
        average_1m=average if isinstance(average, Unmeasured) else float(average.split()[0]),
        cpu_pressure=_pressure(root, "cpu"),
        memory_pressure=_pressure(root, "memory"),
        io_pressure=_pressure(root, "io"),
        autogroup=autogroup if isinstance(autogroup, Unmeasured) else autogroup == "1",
    )


def _pressure(root: Path, resource: str) -> float | Unmeasured:
    text = read_text(root, f"proc/pressure/{resource}")
    if isinstance(text, Unmeasured):
        return text
    for word in text.split():  # the first avg10 is that of "some"
        if word.startswith("avg10="):
            return float(word.removeprefix("avg10=")) / 100
    return Unmeasured(f"/proc/pressure/{resource} has no avg10")


def _no_field(name: str, root: Path) -> Unmeasured:
    text = read_text(root, "proc/cpuinfo")
    return text if isinstance(text, Unmeasured) else Unmeasured(f"/proc/cpuinfo has no '{name}'")
