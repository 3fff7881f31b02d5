"""Which GPUs there are: asked of NVML, else of nvidia-smi, else read from the driver's folder in /proc."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.schema import Unmeasured

SMI_TIMEOUT_S = 20.0
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``memory_bytes`` is None where the source does not tell."""

    name: str
    driver: str
    memory_bytes: int | None = None


Source = Callable[[Path], tuple[Gpu, ...] | Unmeasured]


def find_gpus(root: Path, sources: tuple[Source, ...] | None = None) -> tuple[Gpu, ...] | Unmeasured:
    """Return the GPUs by the first source that answers, or why none did."""
    reasons = []
    for source in (by_nvml, by_nvidia_smi, by_driver_folder) if sources is None else sources:
        found = source(root)
        if not isinstance(found, Unmeasured):
            return found
        reasons.append(found.reason)
    return Unmeasured("none found: " + "; ".join(reasons))


def by_nvml(
    _root: Path, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
) -> tuple[Gpu, ...] | Unmeasured:
    """Ask NVML through the module ``pynvml`` of nvidia-ml-py."""
    try:
        nvml = load()
    except ImportError:
        return Unmeasured("pynvml is not installed (pip install nvidia-ml-py)")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Unmeasured(f"NVML: {error}")
    try:
        driver = word(nvml.nvmlSystemGetDriverVersion())
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return tuple(
            Gpu(word(nvml.nvmlDeviceGetName(h)), driver, int(nvml.nvmlDeviceGetMemoryInfo(h).total)) for h in handles
        )
    except nvml.NVMLError as error:
        return Unmeasured(f"NVML: {error}")
    finally:
        nvml.nvmlShutdown()


def by_nvidia_smi(
    _root: Path,
    which: Callable[[str], str | None] = shutil.which,
    run: Callable[..., Any] = subprocess.run,
) -> tuple[Gpu, ...] | Unmeasured:
    """Ask the driver's own tool."""
    tool = which("nvidia-smi")
    if tool is None:
        return Unmeasured("nvidia-smi is not on the PATH")
    command = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        reply = run(command, capture_output=True, text=True, check=True, timeout=SMI_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines() or [f"exit status {error.returncode}"]
        return Unmeasured(f"nvidia-smi: {said[0]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unmeasured(f"nvidia-smi: {error}")
    gpus = []
    for line in reply.stdout.strip().splitlines():
        name, driver, memory = (part.strip() for part in line.rsplit(",", 2))
        gpus.append(Gpu(name, driver, int(memory) * MIB if memory.isdigit() else None))
    return tuple(gpus) if gpus else Unmeasured("nvidia-smi lists no GPU")


def by_driver_folder(root: Path) -> tuple[Gpu, ...] | Unmeasured:
    """Read what the kernel's driver tells of itself."""
    folder = root / "proc/driver/nvidia"
    try:
        words = (folder / "version").read_text().split()
    except OSError:
        return Unmeasured("/proc/driver/nvidia does not exist, so no NVIDIA driver is loaded")
    driver = next((w for w in words if w[:1].isdigit() and "." in w), "unknown version")
    gpus = []
    for file in sorted(folder.glob("gpus/*/information")):
        fields = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        gpus.append(Gpu(fields.get("Model", "unknown model").strip(), driver))
    return tuple(gpus) if gpus else Unmeasured(f"the NVIDIA driver {driver} is loaded and lists no GPU")


def word(value: str | bytes) -> str:
    """Return a text that NVML answered."""
    return value.decode() if isinstance(value, bytes) else value  # older versions of pynvml answer in bytes
