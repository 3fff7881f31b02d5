"""What can this host do at most? Its peaks, measured in a fresh process on the cores that workers get."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from harness import __version__
from harness.backends.base import distribution_versions
from harness.cache import default_root
from harness.environment import host_fingerprint
from harness.errors import HarnessError, UserError
from harness.host.tree import read_text
from harness.measure.contention import evidence, kernel_probe
from harness.peak_kernels import Effort
from harness.peaks import Peaks, keep, peaks_from_json
from harness.reserve import cores_for, host_lock, out_of_the_way

TIMEOUT_S = 600
LARGEST_CACHE_BYTES = 64 << 20  # where the kernel does not say
SMALLEST_SET_BYTES = 256 << 10
BEYOND = 4  # times the last cache: what is passed over to see memory itself
MEMORY_SHARE = 0.25  # of what is available
LIBRARIES = ("torch", "onnxruntime", "numpy")


def measure_peaks(threads: int, *, root: Path | None = None, effort: Effort | None = None) -> Peaks:
    """Measure this host's peaks with ``threads`` threads, keep them in the cache at ``root`` and return them.

    Takes about half a minute. Raises UserError for more threads than cores, HostLockedError when another
    measurement runs here, HarnessError when the measuring process fails.
    """
    cores = len(os.sched_getaffinity(0))
    if not 1 <= threads <= cores:
        raise UserError(f"--threads {threads}: this host has {cores} cores, choose 1 to {cores}")
    with host_lock(), out_of_the_way(threads):
        found, busy = _measured(threads, effort or Effort(working_sets(last_cache_bytes())))
    peaks = peaks_from_json(
        {
            "host": host_fingerprint()["id"],
            "threads": threads,
            "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "harness": __version__,
            "versions": distribution_versions(LIBRARIES)[0],
            "busy": busy,
            **found,
        }
    )
    keep(peaks, default_root() if root is None else root)
    return peaks


def working_sets(last_cache: int, available: int | None = None) -> tuple[int, ...]:
    """Return the sizes of data to pass over: by factors of four until well beyond the last cache."""
    free = psutil.virtual_memory().available if available is None else available
    most = min(BEYOND * last_cache, int(free * MEMORY_SHARE))
    sizes = [SMALLEST_SET_BYTES]
    while sizes[-1] * 8 <= most:
        sizes.append(sizes[-1] * 4)
    return (*sizes, most) if most > sizes[-1] else tuple(sizes)


def last_cache_bytes(root: Path = Path("/")) -> int:
    """Return the size of the largest cache of core 0."""
    found = []
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        text = read_text(root, str((index / "size").relative_to(root)))
        if isinstance(text, str) and text.endswith("K") and text[:-1].isdigit():
            found.append(int(text[:-1]) << 10)
    return max(found, default=LARGEST_CACHE_BYTES)


def _measured(threads: int, effort: Effort) -> tuple[dict[str, Any], bool]:
    """Run the measuring process; returns its findings and whether others were busy on its cores."""
    pinned = cores_for(threads)
    watched = pinned or os.sched_getaffinity(0)
    probe = kernel_probe(watched)
    before, used = probe([]), _children_s()
    with tempfile.TemporaryDirectory(prefix="harness-peaks-") as folder:
        request, output = Path(folder) / "request.json", Path(folder) / "found.json"
        document = {"parent": os.getpid(), "threads": threads, "cores": sorted(pinned), "effort": asdict(effort)}
        request.write_text(json.dumps(document), encoding="utf-8")
        paths = ["--request", str(request), "--output", str(output)]
        _run([sys.executable, "-m", "harness.peak_kernels", *paths], threads)
        after = probe([])
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    after = replace(after, own_s=after.own_s + _children_s() - used)
    return found, evidence(before, after, len(watched)).dirty


def _run(command: Sequence[str], threads: int) -> None:
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(variables, str(threads))}
    try:
        process = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"the peaks were not measured within {TIMEOUT_S} s") from error
    if process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise HarnessError(f"measuring the peaks failed (exit code {process.returncode}): {lines[-1]}")


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
