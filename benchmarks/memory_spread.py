"""How repeatable is memory? One artifact a backend in ten fresh processes, each kind of memory with its spread.

A growth of 5 % is a finding only where ten runs of the same thing differ by much less. Memory is not disturbed by
other programs' load, so this may run beside them. Takes about a minute.

    python benchmarks/memory_spread.py --write docs/measurement.md
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.cache import default_root
from harness.environment import describe, host_fingerprint
from harness.launcher import Launcher
from harness.protocol import Message
from harness.reserve import cores_for
from harness.schema import Trial

TIMEOUT_S = 600.0
RUNS = 10
BACKENDS = ("torch", "onnxruntime")
KINDS = {
    "floor": "floor_bytes",
    "load peak": "load_peak_bytes",
    "inference peak": "inference_peak_bytes",
    "inference over floor": "over_floor_bytes",
    "PSS": "pss_bytes",
    "USS": "uss_bytes",
    "growth a call": "growth_bytes_per_call",
}
MB = 1e6
BEGIN, END = "<!-- memory:begin -->", "<!-- memory:end -->"


@dataclass(frozen=True)
class Spread:
    """Bytes of one kind of memory over the runs."""

    backend: str
    kind: str
    values: Sequence[float]

    def row(self) -> str:
        """Return it as a row of a Markdown table: mean, then spread as shares of the mean."""
        mean, sd = statistics.fmean(self.values), statistics.stdev(self.values)
        least, most = min(self.values), max(self.values)
        if self.kind == "growth a call":
            return f"| {self.backend} | {self.kind} | {mean:.0f} B | {sd:.0f} B | {least:.0f} to {most:.0f} B | |"
        share = 100 * (most - least) / mean
        return (
            f"| {self.backend} | {self.kind} | {mean / MB:.1f} MB | {100 * sd / mean:.2f} % | "
            f"{least / MB:.1f} to {most / MB:.1f} MB | {share:.2f} % |"
        )


def trial(backend: str, batch_size: int) -> Trial:
    """Return what is examined."""
    return Trial("m", "memory", "digits-cnn", backend, role="baseline", batch_size=batch_size)


def build(launcher: Launcher, wanted: Trial) -> Message:
    """Build the artifact, or find it in the cache."""
    worker = launcher(wanted, "build")
    try:
        return worker.call("build", TIMEOUT_S, trial=asdict(wanted), seed=0, cache=str(default_root()))
    finally:
        worker.close()


def examine(launcher: Launcher, wanted: Trial, built: Message) -> dict[str, float]:
    """Return the kinds of memory of one fresh process, measured in the steps of a run."""
    worker = launcher(wanted, "measure")
    try:
        places = {"directory": built["directory"], "test_data": built["test_data"]}
        start = worker.call("start", TIMEOUT_S, trial=asdict(wanted), **places)
        load = worker.call("load", TIMEOUT_S, cores=sorted(cores_for(wanted.threads)))
        worker.call("first", TIMEOUT_S)
        used = worker.call("memory", TIMEOUT_S)
    finally:
        worker.close()
    over = used["inference_peak_bytes"] - start["floor_bytes"]
    return {**start, **load, **used, "over_floor_bytes": over}


def spreads(backend: str, batch_size: int, runs: int) -> list[Spread]:
    """Examine one artifact in fresh processes."""
    wanted = trial(backend, batch_size)
    with tempfile.TemporaryDirectory() as logs:
        launcher = Launcher(Path(logs))
        built = build(launcher, wanted)
        found = [examine(launcher, wanted, built) for _ in range(runs)]
    return [Spread(backend, kind, [float(run[name]) for run in found]) for kind, name in KINDS.items()]


def main() -> None:
    """Print the table, or write it between its marks in a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--write", type=Path, help="document that holds the marks")
    arguments = parser.parse_args()
    rows = [s.row() for backend in arguments.backends for s in spreads(backend, arguments.batch_size, arguments.runs)]
    head = [
        f"digits-cnn at batch {arguments.batch_size}, one thread, {arguments.runs} fresh processes a backend, on "
        f"{describe(host_fingerprint())}.",
        "",
        "| backend | memory | mean | sd | range | range / mean |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    text = "\n".join([*head, *rows])
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
