"""Reads the raw samples of a run: what every latency and every ratio is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.errors import StoreError
from harness.schema import Record, Timing
from harness.store import Run, confirmation_file, read_table


class SampleReader:
    """Reads the raw samples of a run's experiments, each once, and keeps them in order by trial."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._frames: dict[tuple[str, int], pd.DataFrame] = {}
        self._replicates: dict[tuple[str, int], list[int]] = {}
        self._latencies: dict[tuple[str, int], dict[str, list[_Calls]]] = {}
        self._medians: dict[tuple[str, int, bool], dict[str, dict[int, dict[int, float]]]] = {}

    def frame(self, timing: Timing, group: int) -> pd.DataFrame:
        """Return samples of one group: trial, replicate, round, position, dirty, latency_ns; one row a call."""
        key = (timing.samples, group)
        if key not in self._frames:
            folder = self._run.directory / timing.samples
            paths = sorted(folder.glob(f"group-{group}-replicate-*.parquet"), key=_replicate_number)
            frames = [read_table(p).to_pandas() for p in paths]
            if not frames:
                raise StoreError(f"{folder} holds no samples of group {group}; restore it from where the run was made")
            self._frames[key] = pd.concat(frames, ignore_index=True)
            self._replicates[key] = [int(number) for number in np.unique(self._frames[key]["replicate"])]
        return self._frames[key]

    def latencies(self, record: Record) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """Return a trial's latencies in seconds, one array a replicate; clean rounds where there are any."""
        timing = record.timing
        assert isinstance(timing, Timing)
        key = (timing.samples, timing.group)
        if key not in self._latencies:
            self._latencies[key] = _calls_by_trial(self.frame(timing, timing.group))
        replicates = self._latencies[key].get(record.trial.name, [])
        return [(calls.ns if calls.dirty.all() else calls.ns[~calls.dirty]) / 1e9 for calls in replicates]

    def medians(self, timing: Timing, group: int, trial: str, *, clean: bool) -> list[dict[int, float]]:
        """Return block medians in seconds keyed by round, one mapping a replicate."""
        key = (timing.samples, group, clean)
        if key not in self._medians:
            self._medians[key] = _medians_by_trial(self.frame(timing, group), clean=clean)
        of_trial = self._medians[key].get(trial, {})
        return [of_trial.get(number, {}) for number in self._replicates[timing.samples, group]]


@dataclass(frozen=True)
class _Calls:
    """One trial's calls in one replicate."""

    ns: np.ndarray[Any, np.dtype[np.float64]]
    dirty: np.ndarray[Any, np.dtype[np.bool_]]


def _calls_by_trial(frame: pd.DataFrame) -> dict[str, list[_Calls]]:
    """Take a group's samples apart by trial, then replicate, in one pass."""
    codes, names = pd.factorize(frame["trial"])
    replicates = frame["replicate"].to_numpy()
    order = np.lexsort((replicates, codes))
    changes = (np.diff(codes[order]) != 0) | (np.diff(replicates[order]) != 0)
    parts = np.split(order, np.flatnonzero(changes) + 1) if len(order) else []
    ns, dirty = frame["latency_ns"].to_numpy(dtype=np.float64), frame["dirty"].to_numpy(dtype=bool)
    found: dict[str, list[_Calls]] = {}
    for part in parts:
        found.setdefault(str(names[codes[part[0]]]), []).append(_Calls(ns[part], dirty[part]))
    return found


def _medians_by_trial(frame: pd.DataFrame, *, clean: bool) -> dict[str, dict[int, dict[int, float]]]:
    """Return the median of each block in seconds: trial → replicate → round → value."""
    chosen = frame[~frame["dirty"]] if clean else frame
    medians = chosen.groupby(["trial", "replicate", "round"], sort=True)["latency_ns"].median() / 1e9
    found: dict[str, dict[int, dict[int, float]]] = {}
    for (trial, replicate, number), value in zip(medians.index, medians.to_numpy(), strict=True):
        found.setdefault(str(trial), {}).setdefault(int(replicate), {})[int(number)] = float(value)
    return found


def alone_latencies(run: Run, experiment: str) -> dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]]:
    """Return the latencies in seconds of trials that were timed alone, one array a process; empty for none."""
    path = run.directory / confirmation_file(experiment)
    if not path.is_file():
        return {}
    frame = read_table(path).to_pandas()
    return {
        str(trial): [part["latency_ns"].to_numpy(dtype=np.float64) / 1e9 for _, part in own.groupby("process")]
        for trial, own in frame.groupby("trial")
    }


def _replicate_number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
