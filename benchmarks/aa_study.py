"""Our own A/A study: how far off is the ratio of a model to itself, by design, threads and load?

Three designs, each with the same number of timed calls a side, on one artifact of ``digits-cnn``:

* sequential: one process after the other, the ratio of the medians of all calls (what most tools do);
* interleaved: two live workers, one replicate, the median of the rounds' log ratios;
* replicated: the same rounds spread over four replicates, each a fresh pair of processes (the product's design).

Conditions: 1 and 2 threads, quiet and with one process keeping a core busy. Pairs of all cells are taken in
random order, so that a slow hour hits all alike. Rounds are never repeated here, whatever disturbed them: the
designs must differ in nothing but their order. Takes about 20 minutes; the machine must do nothing else.

    python benchmarks/aa_study.py --pairs 10 --write docs/measurement.md
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.cache import default_root
from harness.coordinator import Coordinator, Group
from harness.environment import describe, host_fingerprint
from harness.launcher import Launcher, WorkerFailure, WorkerProcess
from harness.measure.contention import Snapshot
from harness.protocol import Message
from harness.replicate import Block, Ready, Replicate, Tools
from harness.reserve import cores_for, host_lock, out_of_the_way
from harness.schema import Trial
from harness.stats.estimate import Estimate, log_ratios, speedup
from harness.suite import Measure

ROUNDS = 16
REPLICATES = 4
CALLS = 8  # a block, whatever a call takes, so that all designs and conditions time the same number
TIMEOUT_S = 120.0
DESIGNS = ("sequential", "interleaved", "replicated")
BEGIN, END = "<!-- aa:begin -->", "<!-- aa:end -->"
SPINNER = "while True: pass"


@dataclass(frozen=True)
class Pair:
    """One A/A pair: the log ratio, which should be 0, and what it cost."""

    design: str
    threads: int
    busy: bool
    log_ratio: float
    low: float  # of the interval, on the log scale; NaN where the design has none
    high: float
    wall_s: float
    calls: int


def build(backend: str, logs: Path, threads: int) -> Ready:
    """Build the artifact once, in a build worker."""
    trial = Trial("a", "aa", "digits-cnn", backend, role="baseline", batch_size=32, threads=threads)
    worker = Launcher(logs)(trial, "build")
    try:
        reply = worker.call("build", 600, trial=asdict(trial), seed=0, cache=str(default_root()))
    finally:
        worker.close()
    return Ready(trial, Path(reply["directory"]), Path(reply["test_data"]), 1)


def sequential(ready: Ready, launcher: Launcher) -> tuple[float, int]:
    """Return the log ratio of two processes run one after the other, and the calls a side."""
    medians, count = [], 0
    for _ in range(2):
        worker = launcher(ready.trial, "measure")
        try:
            places = {"directory": str(ready.directory), "test_data": str(ready.test_data)}
            worker.call("start", TIMEOUT_S, trial=asdict(ready.trial), **places)
            worker.call("load", TIMEOUT_S, cores=sorted(cores_for(ready.trial.threads)))
            worker.call("first", TIMEOUT_S)
            worker.call("ready", TIMEOUT_S)
            samples = [ns for _ in range(ROUNDS) for ns in worker.call("block", TIMEOUT_S, calls=CALLS)["ns"]]
        finally:
            worker.close()
        medians.append(statistics.median(samples))
        count = len(samples)
    return math.log(medians[0] / medians[1]), count


def interleaved(ready: Ready, launcher: Launcher, replicates: int) -> tuple[Estimate, int]:
    """Return the estimate of the coordinator for two live workers, and the calls a side."""
    kept = _Blocks()
    tools = Tools(
        spawn=lambda trial, role: _FixedCalls(launcher(trial, role)),
        now=time.monotonic,
        probe=_undisturbed,
        watched=1,
        cores_for=cores_for,
    )
    # model_construct: one replicate is too few for the product, and wanted here.
    policy = Measure.model_construct(
        **{
            **Measure().model_dump(),
            "replicates": replicates,
            "max_replicates": replicates,
            "rounds": ROUNDS // replicates,
        }
    )
    pair = [ready, replace(ready, trial=replace(ready.trial, name="b", role="variant"))]
    with out_of_the_way(ready.trial.threads):
        measured = Coordinator("aa", policy, random.randrange(2**31), tools, kept).measure([Group(tuple(pair))])
    assert not measured.failures, measured.failures
    ratios = []
    for replicate in range(replicates):
        a, b = (_medians(kept.blocks, name, replicate) for name in ("a", "b"))
        ratios.append(log_ratios(a, b))
    estimate = speedup(ratios)
    assert isinstance(estimate, Estimate), estimate
    if replicates == 1:  # the plain median over rounds, as the design is usually written
        estimate = replace(estimate, value=math.exp(float(np.median(ratios[0]))))
    return estimate, sum(len(block.ns) for block in kept.blocks if block.trial == "a")


class _Blocks:
    """Keeps the coordinator's blocks in memory."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def replicate(self, group: int, replicate: Replicate) -> None:  # noqa: ARG002 (one group)
        self.blocks.extend(replicate.blocks)

    def stopped(self, group: int, reason: str) -> None:
        pass

    def failed(self, trial: str, failure: WorkerFailure) -> None:
        pass


class _FixedCalls:
    """A worker that reports the speed for which the coordinator chooses ``CALLS`` calls a block."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def call(self, command: str, timeout_s: float, **arguments: Any) -> Message:
        reply = self._worker.call(command, timeout_s, **arguments)
        return {**reply, "call_s": Measure().block_s / CALLS} if command == "ready" else reply


def _medians(blocks: Sequence[Block], trial: str, replicate: int) -> dict[int, float]:
    own = [block for block in blocks if (block.trial, block.replicate) == (trial, replicate)]
    return {block.round: statistics.median(block.ns) for block in own}


def _undisturbed(pids: Collection[int]) -> Snapshot:
    del pids
    now = time.perf_counter()
    return Snapshot(now, now, 0.0, 0.0)


@contextmanager
def load(busy: bool) -> Iterator[None]:
    """Keep one core busy, from a session (and so a scheduling group) of its own."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", SPINNER], start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def take(design: str, ready: Ready, launcher: Launcher, busy: bool) -> Pair:
    """Take one pair."""
    began = time.monotonic()
    low = high = math.nan
    with load(busy):
        if design == "sequential":
            value, calls = sequential(ready, launcher)
        else:
            estimate, calls = interleaved(ready, launcher, REPLICATES if design == "replicated" else 1)
            value, low, high = (math.log(x) for x in (estimate.value, estimate.low, estimate.high))
    return Pair(design, ready.trial.threads, busy, value, low, high, time.monotonic() - began, calls)


def table(pairs: Sequence[Pair]) -> str:
    """Return the summary as a markdown table."""
    lines = [
        "| threads | host | design | pairs | mean error | sd of the ratio | worst error | off by > 2 % | wall s |",
        "| --: | :-- | :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for threads in (1, 2):
        for busy in (False, True):
            for design in DESIGNS:
                cell = [p for p in pairs if (p.threads, p.busy, p.design) == (threads, busy, design)]
                if cell:
                    lines.append(_row(cell))
    return "\n".join(lines)


def _row(cell: Sequence[Pair]) -> str:
    errors = [100 * p.log_ratio for p in cell]
    first = cell[0]
    values = [
        str(first.threads),
        "one busy core" if first.busy else "quiet",
        first.design,
        str(len(cell)),
        f"{statistics.mean(errors):+.2f} %",
        f"{statistics.stdev(errors):.2f} %" if len(cell) > 1 else "-",
        f"{max(map(abs, errors)):.2f} %",
        f"{sum(abs(e) > 2 for e in errors)} of {len(cell)}",
        f"{statistics.mean(p.wall_s for p in cell):.1f}",
    ]
    return f"| {' | '.join(values)} |"


def replicated_intervals(pairs: Sequence[Pair]) -> str:
    """Return how often the product's interval held the truth, in one sentence."""
    own = [p for p in pairs if p.design == "replicated"]
    held = sum(p.low <= 0 <= p.high for p in own)
    different = sum(p.low > math.log(1.02) or p.high < -math.log(1.02) for p in own)
    half = statistics.median(50 * (p.high - p.low) for p in own)
    return (
        f"The replicated design's 95 % interval held the true ratio 1 in {held} of {len(own)} pairs (median "
        f"half-width ±{half:.2f} %), and {different} of {len(own)} were called different at a margin of 2 %."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, print the table, and write raw pairs and document where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--raw", type=Path, default=Path("results/published/aa-study/pairs.csv"))
    parser.add_argument("--write", type=Path, help="replace the text between the aa markers of this document")
    options = parser.parse_args(argv)
    logs = options.raw.parent / "logs"
    launcher = Launcher(logs)
    host = host_fingerprint()
    threads = [t for t in (1, 2) if t <= len(os.sched_getaffinity(0))]
    with host_lock():
        ready = {t: build(options.backend, logs, t) for t in threads}
        pairs: list[Pair] = []
        for index in range(options.pairs):
            cells = [(d, t, b) for d in DESIGNS for t in threads for b in (False, True)]
            random.Random(index).shuffle(cells)
            for design, count, busy in cells:
                pairs.append(take(design, ready[count], launcher, busy))
                print(f"{index + 1}/{options.pairs} {pairs[-1]}", file=sys.stderr, flush=True)
    options.raw.parent.mkdir(parents=True, exist_ok=True)
    with options.raw.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(pairs[0])))
        writer.writeheader()
        writer.writerows(asdict(p) for p in pairs)
    calls = statistics.median(p.calls for p in pairs)
    text = (
        f"{options.backend}, digits-cnn at batch 32, {ROUNDS} blocks of {CALLS} calls a side "
        f"({calls:.0f} timed calls), on {describe(host)} (host {host['id']}, kernel {host['kernel']}).\n\n"
        f"{table(pairs)}\n\n{replicated_intervals(pairs)}"
    )
    print(text)
    if options.write:
        document = options.write.read_text()
        head, _, rest = document.partition(BEGIN)
        _, _, tail = rest.partition(END)
        options.write.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
