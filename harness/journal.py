"""What a run keeps beside its records, so that it can go on after it was cut short at any moment.

``journal.jsonl`` tells in order which trials were examined (record so far, place of the artifact), who is
measured with whom, and which groups are done. A replicate's samples are one Parquet file; what else is needed to
go on from it travels in the same file, so a replicate is either there as a whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifacts import intact, read_description
from harness.cache import Cache
from harness.codec import decode_record, encode_record
from harness.measure.contention import Evidence
from harness.replicate import Block, Ready, Replicate
from harness.schema import Artifact, ModelSource, Record, Status
from harness.store import RunWriter, read_journal, read_note, read_table
from harness.trial_run import Examined

Groups = tuple[tuple[str, ...], ...]  # names of trials


@dataclass(frozen=True)
class Earlier:
    """What earlier parts of a run did of one experiment; in a new run everything is empty.

    Attributes:
        ended: status of the trials that have their record.
        examined: trials that were examined, by name, whether their artifact is still there or not.
        groups: who is measured with whom, once that was settled.
        stopped: why a group is done, by its index.
        replicates: how many each group has.
    """

    ended: Mapping[str, Status]
    examined: Mapping[str, Examined]
    groups: Groups
    stopped: Mapping[int, str]
    replicates: Sequence[int]

    def __bool__(self) -> bool:
        return bool(self.ended or self.examined)

    def fingerprints(self) -> dict[ModelSource, str]:
        """Return what each model of the user's own stood for."""
        return {
            item.record.trial.source: item.fingerprint
            for item in self.examined.values()
            if item.record.trial.source is not None
        }

    def timed(self, trial: str) -> bool:
        """Whether a replicate has timed the trial."""
        return any(trial in group and n for group, n in zip(self.groups, self.replicates, strict=True))

    def done(self, trial: str) -> bool:
        """Whether all groups of the trial are done, so that nothing but its record is missing."""
        own = [index for index, group in enumerate(self.groups) if trial in group]
        return bool(own) and all(index in self.stopped for index in own)


class Journal:
    """Keeps and returns what a run has reached."""

    def __init__(self, writer: RunWriter, cache: Cache, records: Sequence[Record] = ()) -> None:
        self._writer = writer
        self._cache = cache
        self._records = records

    def earlier(self, experiment: str) -> Earlier:
        """Return what earlier parts of this run did; raises StoreError when the journal is damaged."""
        own = [d for d in read_journal(self._writer.directory) if d["experiment"] == experiment]
        examined = [self._read_examined(d) for d in own if d["kind"] == "examined"]
        groups = [d["groups"] for d in own if d["kind"] == "groups"]
        settled: Groups = tuple(tuple(group) for group in groups[-1]) if groups else ()
        return Earlier(
            ended={r.trial.name: r.status for r in self._records if r.trial.experiment == experiment},
            examined={item.record.trial.name: item for item in examined},
            groups=settled,
            stopped={d["group"]: d["reason"] for d in own if d["kind"] == "stopped"},
            replicates=[len(self._replicate_files(experiment, index)) for index in range(len(settled))],
        )

    # -- trials ----------------------------------------------------------------------------------------------

    def examined(self, item: Examined) -> None:
        """Keep an examination."""
        self._writer.note(
            {
                "kind": "examined",
                "experiment": item.record.trial.experiment,
                "record": json.loads(encode_record(item.record)),
                "directory": self._in_cache(item.ready.directory),
                "test_data": self._in_cache(item.ready.test_data),
                "peak_bytes": item.ready.peak_bytes,
                "fingerprint": item.fingerprint,
            }
        )

    def _read_examined(self, document: Mapping[str, Any]) -> Examined:
        record = decode_record(json.dumps(document["record"]))
        root = self._cache.root
        ready = Ready(
            record.trial, root / document["directory"], root / document["test_data"], int(document["peak_bytes"])
        )
        return Examined(ready, record, document["fingerprint"])

    def _in_cache(self, path: Path) -> str:
        """Return a path relative to the cache where it lies in it: results get published, home folders not."""
        root = self._cache.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    # -- measuring -------------------------------------------------------------------------------------------

    def groups(self, experiment: str, groups: Groups) -> None:
        """Keep who is measured with whom."""
        self._writer.note({"kind": "groups", "experiment": experiment, "groups": [list(g) for g in groups]})

    def stopped(self, experiment: str, group: int, reason: str) -> None:
        """Keep that a group is done."""
        self._writer.note({"kind": "stopped", "experiment": experiment, "group": group, "reason": reason})

    def replicate(self, experiment: str, group: int, replicate: Replicate) -> None:
        """Keep a replicate: its samples, one row a call, and what is needed to go on from it."""
        blocks = replicate.blocks
        lengths = [len(b.ns) for b in blocks]

        def column(values: Sequence[Any], dtype: Any) -> Any:
            return np.repeat(np.array(values, dtype=dtype), lengths)

        names = [b.trial for b in blocks]
        self._writer.table(
            f"{_samples(experiment)}/group-{group}-replicate-{replicate.number}.parquet",
            {
                "trial": column(names, object) if names else np.array([], dtype=object),
                "replicate": column([b.replicate for b in blocks], np.int32),
                "round": column([b.round for b in blocks], np.int32),
                "position": column([b.position for b in blocks], np.int32),
                "dirty": column([b.dirty for b in blocks], np.bool_),
                "latency_ns": np.array([ns for b in blocks for ns in b.ns], dtype=np.int64),
            },
            note={
                "seconds": replicate.seconds,
                "calls": dict(replicate.calls),
                "load_s": dict(replicate.load_s),
                "first_call_s": dict(replicate.first_call_s),
                "evidence": [asdict(seen) for seen in replicate.evidence],
            },
        )

    def replicates(self, experiment: str, group: int) -> tuple[Replicate, ...]:
        """Return the replicates that a group has, in order."""
        files = self._replicate_files(experiment, group)
        return tuple(_read_replicate(path, number) for number, path in enumerate(files))

    def _replicate_files(self, experiment: str, group: int) -> list[Path]:
        folder = self._writer.directory / _samples(experiment)
        files: list[Path] = []
        while (path := folder / f"group-{group}-replicate-{len(files)}.parquet").is_file():
            files.append(path)
        return files


def still_there(item: Examined) -> bool:
    """Whether the very artifact that was examined is still in the cache, and the test data with it."""
    directory, artifact = item.ready.directory, item.record.artifact
    if not isinstance(artifact, Artifact) or not item.ready.test_data.is_file() or not intact(directory):
        return False
    return read_description(directory, cached=True).files == artifact.files


def _samples(experiment: str) -> str:
    return f"samples/{experiment}"


def _read_replicate(path: Path, number: int) -> Replicate:
    note = read_note(path)
    blocks: dict[tuple[int, int], tuple[str, bool, list[int]]] = {}
    for row in read_table(path).to_pylist():
        place = (row["round"], row["position"])
        blocks.setdefault(place, (row["trial"], row["dirty"], []))[2].append(row["latency_ns"])
    return Replicate(
        number=number,
        seconds=float(note["seconds"]),
        calls=note["calls"],
        load_s=note["load_s"],
        first_call_s=note["first_call_s"],
        blocks=[
            Block(trial, number, round_, position, dirty, tuple(ns))
            for (round_, position), (trial, dirty, ns) in blocks.items()
        ],
        evidence=[Evidence(**seen) for seen in note.get("evidence", [])],
    )
