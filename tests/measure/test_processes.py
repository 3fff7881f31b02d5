from __future__ import annotations

import os
import shutil
from pathlib import Path

from harness.measure.contention import cpu_clock_s
from harness.measure.processes import ThreadTime, thread_times, tree_pids
from tests.measure.fake_proc import write_process


def test_the_tree_of_a_process_is_all_that_it_started(tmp_path: Path) -> None:
    write_process(tmp_path, 10, {10: (0, 1.0), 11: (1, 1.0)}, children=[20, 30])
    write_process(tmp_path, 20, {20: (0, 1.0)}, parent=10, children=[21])
    write_process(tmp_path, 21, {21: (0, 1.0)}, parent=20)
    write_process(tmp_path, 30, {30: (0, 1.0)}, parent=10)
    write_process(tmp_path, 40, {40: (0, 1.0)})
    assert sorted(tree_pids(tmp_path, 10)) == [10, 20, 21, 30]


def test_a_kernel_that_lists_no_children_is_asked_for_parents(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (20, 10), (21, 20), (40, 1)):
        write_process(tmp_path, pid, {pid: (0, 1.0)}, parent=parent, children=None)
    assert sorted(tree_pids(tmp_path, 10)) == [10, 20, 21]


def test_threads_have_their_core_and_their_exact_time_or_that_in_ticks(tmp_path: Path) -> None:
    write_process(tmp_path, 10, {10: (3, 1.23456), 11: (0, 0.5)}, waited_s=0.25)
    assert thread_times(tmp_path, 10) == {10: ThreadTime(3, 1.23456, 0.25), 11: ThreadTime(0, 0.5, 0.25)}
    write_process(tmp_path, 10, {10: (3, 1.23456)}, exact=False)
    assert thread_times(tmp_path, 10) == {10: ThreadTime(3, 1.23)}


def test_a_process_or_a_thread_that_is_gone_is_left_out(tmp_path: Path) -> None:
    assert tree_pids(tmp_path, 10) == ()
    assert thread_times(tmp_path, 10) == {}
    write_process(tmp_path, 10, {10: (0, 1.0), 11: (1, 1.0)}, children=[20])
    (tmp_path / "proc/10/task/11/stat").unlink()
    assert thread_times(tmp_path, 10) == {10: ThreadTime(0, 1.0, 0.0)}
    shutil.rmtree(tmp_path / "proc/10/task")
    assert tree_pids(tmp_path, 10) == (10,)


def test_this_machine_shows_this_process() -> None:
    root, pid = Path("/"), os.getpid()
    assert tree_pids(root, pid)[0] == pid
    threads = thread_times(root, pid)
    assert pid in threads
    assert all(thread.core >= 0 and thread.cpu_s >= 0 for thread in threads.values())
    assert cpu_clock_s(pid) is not None
    assert cpu_clock_s(2**22 + 1) is None
