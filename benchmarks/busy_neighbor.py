"""What a busy neighbor does to a run: the same experiment on a quiet host, and with stress processes beside it.

    python benchmarks/busy_neighbor.py [--json FILE]

digits-cnn at batch 32, one thread, ONNX Runtime against eager torch. Each row is a whole run of its own; ``hogs`` are
processes that only burn CPU, unpinned. Takes about five minutes. Run it on a host where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.cache import default_root
from harness.catalog import catalog
from harness.plan import plan
from harness.runner import Runner, RunOptions
from harness.store import read_run
from harness.suite import parse_suite
from harness.verdicts import run_df

SUITE = """\
suite: neighbor
measure: {replicates: 5, max_replicates: 5, rounds: 20, budget_s: 60}
experiments:
  - name: digits
    model: digits-cnn
    batch_size: 32
    variants: [{backend: onnxruntime}]
"""
CASES = (("quiet", 0, False), ("one hog", 1, False), ("two hogs", 2, False), ("two hogs, isolated", 2, True))


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Keep ``count`` processes busy; each ends by itself after five minutes at the latest."""
    code = "import time\nend = time.time() + 300\nwhile time.time() < end: pass"
    running = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(count: int, isolate: bool, folder: Path) -> dict[str, float]:
    """Run the experiment beside ``count`` hogs and return what its record says."""
    options = RunOptions(folder, default_root(), neighbors="label", isolate=isolate)
    suite = parse_suite(SUITE, "neighbor.yaml")
    with hogs(count):
        directory = Runner(options).run("neighbor", 0, plan(suite, catalog()))
    row = run_df(read_run(directory)).set_index("trial").loc["onnxruntime"]
    names = ("speedup", "speedup_low", "speedup_high", "other_cpu_share", "steal_share", "rounds", "dirty_rounds")
    return {name: float(row[name]) for name in names} | {"clean": bool(row["speedup_clean"])}


def main() -> None:
    """Run all cases and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the raw rows to this file")
    arguments = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, count, isolate in CASES:
            rows[name] = measure(count, isolate, Path(folder) / name.replace(" ", "-"))
            print(name, rows[name], file=sys.stderr)
    print("| neighbor | speed-up [95 %] | from clean rounds | rounds disturbed | CPU of others | steal |")
    print("| :-- | :-- | :-- | --: | --: | --: |")
    for name, r in rows.items():
        print(
            f"| {name} | {r['speedup']:.2f}× [{r['speedup_low']:.2f}, {r['speedup_high']:.2f}] | "
            f"{'yes' if r['clean'] else 'no, widened'} | {r['dirty_rounds']:.0f} of {r['rounds']:.0f} | "
            f"{100 * r['other_cpu_share']:.1f} % | {100 * r['steal_share']:.1f} % |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
