"""CPU time of a process and its children, and the cores their threads run on, read from outside (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Places in /proc/PID/stat after the command's name, which may hold anything: fields 4, 14, 15 and 39 of proc(5).
_PARENT, _USER, _SYSTEM, _CORE = 1, 11, 12, 36


@dataclass(frozen=True)
class ThreadTime:
    """CPU seconds of a thread, the core on which it ran last, and how long it was ready while others had the core.

    ``waited_s`` is None where the kernel does not count it.
    """

    core: int
    cpu_s: float
    waited_s: float | None = None


def tree_pids(root: Path, pid: int) -> tuple[int, ...]:
    """Return a process and all its descendants; empty when it is gone."""
    if not (root / f"proc/{pid}").is_dir():
        return ()
    found, waiting = [pid], [pid]
    while waiting:
        children = list(_children(root, waiting.pop()))
        found += children
        waiting += children
    return tuple(found)


def thread_times(root: Path, pid: int) -> dict[int, ThreadTime]:
    """Return the threads of a process by their ids; one that ends meanwhile is left out."""
    threads = {}
    for task in _tasks(root, pid):
        try:
            fields = _stat(task)
            threads[int(task.name)] = ThreadTime(int(fields[_CORE]), *_times_s(task, fields))
        except (OSError, IndexError):
            continue
    return threads


def _tasks(root: Path, pid: int) -> list[Path]:
    try:
        return list((root / f"proc/{pid}/task").iterdir())
    except OSError:
        return []


def _stat(task: Path) -> list[str]:
    return (task / "stat").read_text().rpartition(")")[2].split()


def _times_s(task: Path, fields: list[str]) -> tuple[float, float | None]:
    """Return seconds on a core and seconds of waiting for one."""
    try:
        ran, waited, _ = (task / "schedstat").read_text().split()
        return int(ran) / 1e9, int(waited) / 1e9
    except (OSError, ValueError):  # a kernel without CONFIG_SCHED_INFO; ticks of 10 ms then
        return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS, None


def _children(root: Path, pid: int) -> Iterator[int]:
    for task in _tasks(root, pid):
        try:
            yield from map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            if (task / "stat").exists():  # a kernel without CONFIG_PROC_CHILDREN
                yield from _children_by_parent(root, pid)
                return
        except OSError:
            continue  # the thread has just ended


def _children_by_parent(root: Path, pid: int) -> Iterator[int]:
    for folder in (root / "proc").glob("[0-9]*"):
        try:
            if int(_stat(folder)[_PARENT]) == pid:
                yield int(folder.name)
        except (OSError, IndexError):
            continue
