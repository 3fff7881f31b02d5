"""What this host is: the fingerprint that decides whether two records may be compared."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import psutil

# Instruction sets that decide which kernels run.
X86_FLAGS = (
    "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
)  # fmt: skip
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "bf16", "sve")
DECISIVE_FLAGS = X86_FLAGS + ARM_FLAGS


def cpu_flags(root: Path = Path("/")) -> tuple[str, ...]:
    """Return those of the decisive instruction sets that this CPU has."""
    present = set(cpuinfo("flags", root).split()) | set(cpuinfo("Features", root).split())
    return tuple(flag for flag in DECISIVE_FLAGS if flag in present)


def host_fingerprint() -> dict[str, Any]:
    """Return what identifies the hardware, and ``id``, a short hash of it (no host name, nothing personal)."""
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    hardware = {
        "cpu": cpuinfo("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_gib": memory_gib,
        "flags": list(cpu_flags()),
        "virtualized": "hypervisor" in cpuinfo("flags").split(),
    }
    digest = hashlib.sha256(repr(sorted(hardware.items())).encode()).hexdigest()[:10]
    return {
        "id": digest,
        **hardware,
        "kernel": platform.release(),
        "system": _os_name(),
        "python": platform.python_version(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "autogroup": _read("/proc/sys/kernel/sched_autogroup_enabled"),
        "load_average_1m": round(os.getloadavg()[0], 2),
    }


def describe(host: dict[str, Any]) -> str:
    """Return the host in one line for a person."""
    kind = "virtual machine" if host.get("virtualized") else "machine"
    isa = [flag for flag in host.get("flags", []) if "vnni" in flag or "bf16" in flag or "amx" in flag]
    name = " ".join(str(host.get("cpu", "unknown CPU")).replace("(R)", "").split())
    return f"{name} {kind}, {host['cores']} cores, {host['memory_gib']} GiB, {' '.join(isa) or 'no INT8/BF16 units'}"


def cpuinfo(field: str, root: Path = Path("/")) -> str:
    """Return a field of the first processor in /proc/cpuinfo below ``root``; empty when it has none."""
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == field:
            return value.strip()
    return ""


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
