"""What the control groups of a container allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.host.tree import read_text
from harness.schema import Unmeasured

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Limits:
    """What the control group allows; None where it sets no limit."""

    cpu_cores: float | Unmeasured | None
    memory_bytes: int | Unmeasured | None


def read_limits(root: Path) -> Limits:
    """Read the tightest limits of this process's control groups, of version 1 or 2, below ``root``."""
    groups = read_text(root, "proc/self/cgroup")
    if isinstance(groups, Unmeasured):
        return Limits(groups, groups)
    paths = [line.split(":", 2) for line in groups.splitlines() if line.count(":") >= 2]
    cpu, memory = _folders(root, paths, "cpu"), _folders(root, paths, "memory")
    none = Unmeasured("no control group hierarchy is mounted below /sys/fs/cgroup")
    return Limits(
        cpu_cores=_tightest(map(_cpu_quota, cpu)) if cpu else none,
        memory_bytes=_tightest(map(_memory_limit, memory)) if memory else none,
    )


def _tightest(limits: Iterable[T | Unmeasured | None]) -> T | Unmeasured | None:
    """Return the smallest limit, None without one, or why one of them cannot be read."""
    found: list[T] = []
    for limit in limits:
        if isinstance(limit, Unmeasured):
            return limit
        if limit is not None:
            found.append(limit)
    return min(found, default=None)


def _folders(root: Path, groups: list[list[str]], controller: str) -> list[Path]:
    """Return this process's group for a controller and all its ancestors that are visible here."""
    mount = root / "sys/fs/cgroup"
    for _, controllers, path in groups:
        if controller in controllers.split(","):
            return list(_visible(mount / controller, path))
    unified = [path for number, controllers, path in groups if number == "0" and not controllers]
    # In a mixed system the unified hierarchy has no controllers of this kind.
    return list(_visible(mount, unified[0])) if unified and (mount / "cgroup.controllers").exists() else []


def _visible(mount: Path, path: str) -> Iterator[Path]:
    folder = mount / path.strip("/")
    for candidate in (folder, *folder.parents):
        if candidate.is_dir():
            yield candidate
        if candidate == mount:
            return


def _cpu_quota(folder: Path) -> float | Unmeasured | None:
    """Return a group's CPU quota in cores, None where it sets none."""
    unified, old = _present(folder, "cpu.max"), _present(folder, "cpu.cfs_quota_us")
    if isinstance(unified, str):
        quota, period = unified.split()
        return None if quota == "max" else int(quota) / int(period)
    if isinstance(old, str):
        length = read_text(folder, "cpu.cfs_period_us")
        return length if isinstance(length, Unmeasured) else None if int(old) < 0 else int(old) / int(length)
    return unified or old


_NO_LIMIT = 2**60  # version 1 writes "none" as the largest multiple of a page


def _memory_limit(folder: Path) -> int | Unmeasured | None:
    """Return a group's memory limit in bytes, None where it sets none."""
    text = _present(folder, "memory.max") or _present(folder, "memory.limit_in_bytes")
    if not isinstance(text, str):
        return text
    return None if text == "max" or int(text) >= _NO_LIMIT else int(text)


def _present(folder: Path, name: str) -> str | Unmeasured | None:
    """Return a file's text, None where it does not exist, or why it cannot be read."""
    return read_text(folder, name) if (folder / name).exists() else None
