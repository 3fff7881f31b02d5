"""Appends to and reads results/: one folder a run.

    results/<run>/run.json           suite, host, versions, plan; written first
                  records.jsonl      one line a trial, appended and fsynced as it ends
                  samples/<experiment>/group-0-replicate-0.parquet
                  predictions/<experiment>.<trial>.parquet
                  logs/

Whatever was written before a crash is complete; a last line cut short by one is ignored and said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.codec import decode_record, encode_record, migrate
from harness.errors import StoreError, UserError
from harness.schema import SCHEMA_VERSION, Record

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"


@dataclass(frozen=True)
class Run:
    """A stored run: its folder, its header and its records."""

    directory: Path
    header: dict[str, Any]
    records: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.directory.name


class RunWriter:
    """Writes one run. The folder must not exist yet."""

    def __init__(self, directory: Path, header: Mapping[str, Any]) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True)
            document = {"schema_version": SCHEMA_VERSION, **header}
            _write_durably(directory / RUN_FILE, json.dumps(document, indent=1, ensure_ascii=False))
        except OSError as error:
            raise UserError(
                f"cannot create {directory}: {error.strerror}; choose another place with --results"
            ) from error

    def append(self, record: Record) -> None:
        """Append one record and return when it is on the disk."""
        with (self.directory / RECORDS_FILE).open("a", encoding="utf-8") as file:
            file.write(encode_record(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def table(self, name: str, columns: Mapping[str, Any]) -> str:
        """Write a Parquet file below the run's folder and return its relative path."""
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.with_suffix(".partial")
        pq.write_table(pa.table(dict(columns)), staging)
        staging.rename(target)
        return name


def read_run(directory: Path) -> Run:
    """Read one run; raises StoreError when it is damaged or of a newer version."""
    try:
        document = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{directory} is no run: it has no readable {RUN_FILE}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{directory / RUN_FILE} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise StoreError(f"{directory / RUN_FILE} is damaged: it is no JSON object")
    return Run(directory, migrate(document), tuple(_records(directory / RECORDS_FILE)))


def find_runs(path: Path) -> list[Path]:
    """Return the runs in ``path`` (a run itself, or a folder of runs), oldest first."""
    if (path / RUN_FILE).is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist; harness run SUITE makes results")
    found = [p.parent for pattern in (f"*/{RUN_FILE}", f"published/*/{RUN_FILE}") for p in path.glob(pattern)]
    return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file; raises StoreError when it is missing or damaged."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _records(path: Path) -> Sequence[Record]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")
    complete = lines[:-1]  # what follows the last newline was cut short by a crash, maybe within a character
    records = []
    for number, line in enumerate(complete, start=1):
        try:
            records.append(decode_record(line.decode("utf-8")))
        except (StoreError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}:{number}: {error}") from error
    return records


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
