"""Writes the part of /proc and /sys that the doctor reads: a quiet two-core machine unless a test says otherwise."""

from __future__ import annotations

from pathlib import Path

CPUS = "sys/devices/system/cpu"
FLAGS = "fpu sse2 avx2 fma avx512f avx512bw avx512vl avx512_vnni"
QUIET: dict[str, str | None] = {
    "proc/cpuinfo": f"processor\t: 0\nmodel name\t: Fake(R) CPU @ 2.0GHz\nflags\t\t: {FLAGS}\n\nprocessor\t: 1\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-1\n",
    "proc/stat": "cpu  1000 0 500 8500 0 0 0 0 0 0\ncpu0 1 0 1 1 0 0 0 0 0 0\n",
    "proc/meminfo": (
        "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n"
        "SwapTotal:       4000000 kB\nSwapFree:        4000000 kB\n"
    ),
    "proc/loadavg": "0.05 0.10 0.20 1/100 1234\n",
    "proc/pressure/cpu": (
        "some avg10=0.50 avg60=0.10 avg300=0.00 total=1\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n"
    ),
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "proc/sys/kernel/sched_autogroup_enabled": "0\n",
    "proc/self/cgroup": "0::/user.slice/job\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
    "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
    f"{CPUS}/cpu0/topology/thread_siblings_list": "0\n",
    f"{CPUS}/cpu1/topology/thread_siblings_list": "1\n",
    f"{CPUS}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPUS}/cpu1/cpufreq/scaling_governor": "performance\n",
    f"{CPUS}/cpufreq/boost": "0\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/devices/system/node/node0/cpulist": "0-1\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
}


def write_root(folder: Path, **changes: str | None) -> Path:
    """Write the tree; ``changes`` maps a path to other text, or to None to leave the file out."""
    for path, text in {**QUIET, **changes}.items():
        if text is not None:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    return folder
