"""Writes processes into a /proc that exists on paper."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path


def stat_line(pid: int, parent: int, ticks: int, core: int) -> str:
    """Return a line as the kernel writes it: the name may hold spaces and parentheses."""
    fields = ["R", str(parent), *["0"] * 9, str(ticks), "0", *["0"] * 23, str(core), *["0"] * 13]
    return f"{pid} (py (3) x) {' '.join(fields)}\n"


def write_process(
    root: Path,
    pid: int,
    threads: Mapping[int, tuple[int, float]],
    parent: int = 1,
    children: Sequence[int] | None = (),
    *,
    exact: bool = True,
    waited_s: float = 0.0,
) -> None:
    """Write a process whose threads are id → (core, CPU seconds).

    ``children`` None and ``exact`` False leave out what kernels without those options do not have.
    """
    folder = root / f"proc/{pid}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(stat_line(pid, parent, 0, 0))
    for number, (tid, (core, seconds)) in enumerate(threads.items()):
        task = folder / f"task/{tid}"
        task.mkdir(parents=True)
        (task / "stat").write_text(stat_line(tid, parent, round(seconds * 100), core))
        if exact:
            (task / "schedstat").write_text(f"{round(seconds * 1e9)} {round(waited_s * 1e9)} 1\n")
        if children is not None:
            (task / "children").write_text("" if number else " ".join(map(str, children)) + " ")
