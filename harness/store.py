"""Appends to and reads results/: one folder a run.

    results/<run>/run.json           suite, host, versions, plan; written first
                  records.jsonl      one line a trial, appended and fsynced as it ends
                  journal.jsonl      what else a run needs to go on after it was cut short (journal.py)
                  samples/<experiment>/group-0-replicate-0.parquet
                  predictions/<experiment>/<trial>.parquet
                  logs/<experiment>/<trial>.<role>.log

A file appears whole, by a rename; lines are appended and fsynced. So whatever was written before a crash is
complete, and a last line cut short by one is ignored.
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
from harness.errors import HarnessError, StoreError, UserError
from harness.schema import SCHEMA_VERSION, Record

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
JOURNAL_FILE = "journal.jsonl"
NOTE_KEY = b"harness"  # in the metadata of a Parquet file's schema


def confirmation_file(experiment: str) -> str:
    """Return where the samples of trials that were timed alone lie, below the run's folder."""
    return f"confirm/{experiment}.parquet"


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
    """Writes one run. A new run's folder must not exist yet; ``reopen`` goes on with one that does."""

    def __init__(self, directory: Path, header: Mapping[str, Any]) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True)
            _write_header(directory, {"schema_version": SCHEMA_VERSION, **header})
        except OSError as error:
            raise UserError(
                f"cannot create {directory}: {error.strerror}; choose another place with --results"
            ) from error

    @classmethod
    def reopen(cls, run: Run, resumed_at: str | None) -> RunWriter:
        """Go on with a run: note the time in its header and cut off lines that a crash left half written.

        Without a time nothing is resumed, only added to a run that is complete.
        """
        writer = cls.__new__(cls)
        writer.directory = run.directory
        if resumed_at is not None:
            _write_header(run.directory, {**run.header, "resumed_at": [*run.header.get("resumed_at", []), resumed_at]})
        for name in (RECORDS_FILE, JOURNAL_FILE):
            _drop_cut_line(run.directory / name)
        return writer

    def append(self, record: Record) -> None:
        """Append one record and return when it is on the disk."""
        self._append_line(RECORDS_FILE, encode_record(record))

    def note(self, document: Mapping[str, Any]) -> None:
        """Append one document to the journal and return when it is on the disk."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **document}, ensure_ascii=False, allow_nan=False)
        self._append_line(JOURNAL_FILE, text)

    def table(self, name: str, columns: Mapping[str, Any], note: Mapping[str, Any] | None = None) -> str:
        """Write a Parquet file below the run's folder and return its relative path.

        ``note`` is JSON-ready data that travels in the file itself, so that both appear in one step.
        """
        target = self.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(dict(columns))
        if note is not None:
            document = {"schema_version": SCHEMA_VERSION, **note}
            table = table.replace_schema_metadata({NOTE_KEY: json.dumps(document, ensure_ascii=False)})
        staging = target.with_name(f"{target.name}.partial")
        pq.write_table(table, staging)
        _publish(staging, target)
        return name

    def part_done(self, seconds: float) -> None:
        """Note in the header how long this part of the run took: the first, or one that resumed it."""
        header = _read_header(self.directory)
        _write_header(self.directory, {**header, "parts_s": [*header.get("parts_s", []), seconds]})

    def _append_line(self, name: str, text: str) -> None:
        path = self.directory / name
        new = not path.exists()
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync(self.directory)


def read_run(directory: Path) -> Run:
    """Read one run; raises StoreError when it is damaged or of a newer version."""
    return Run(directory, _read_header(directory), tuple(_records(directory / RECORDS_FILE)))


def read_journal(directory: Path) -> list[dict[str, Any]]:
    """Return the documents of a run's journal in order; a last line cut short by a crash is left out."""
    path = directory / JOURNAL_FILE
    documents = []
    for number, line in enumerate(_complete_lines(path), start=1):
        try:
            documents.append(migrate(json.loads(line)))
        except (StoreError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}:{number}: {error}") from error
    return documents


@dataclass(frozen=True)
class Survey:
    """The runs below a folder: readable ones, oldest first, and those whose header cannot be read, with why."""

    runs: tuple[Path, ...]
    damaged: Mapping[Path, HarnessError]


def survey(path: Path) -> Survey:
    """Look at the headers of the runs in ``path`` (a run itself, or a folder of runs).

    Oldest first by ``started_at`` in the header, then by name: a copied or resumed folder keeps its place.
    """
    if (path / RUN_FILE).is_file():
        found = [path]
    elif path.is_dir():
        found = [p.parent for pattern in (f"*/{RUN_FILE}", f"published/*/{RUN_FILE}") for p in path.glob(pattern)]
    else:
        raise UserError(f"{path} does not exist; harness run SUITE makes results")
    started: dict[Path, str] = {}
    damaged: dict[Path, HarnessError] = {}
    for directory in sorted(found):
        try:
            started[directory] = str(_read_header(directory).get("started_at", ""))
        except (StoreError, UserError) as error:
            damaged[directory] = error
    return Survey(tuple(sorted(started, key=lambda p: (started[p], p.name))), damaged)


def find_runs(path: Path) -> list[Path]:
    """Return the runs in ``path``, oldest first; one whose header is damaged stands before all others."""
    seen = survey(path)
    return [*seen.damaged, *seen.runs]


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file; raises StoreError when it is missing or damaged."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def read_note(path: Path) -> dict[str, Any]:
    """Return the note in a Parquet file; raises StoreError when there is none."""
    try:
        text = (pq.read_schema(path).metadata or {})[NOTE_KEY]
    except KeyError:
        raise StoreError(f"{path} holds no note of how it was measured") from None
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    return migrate(json.loads(text))


def _read_header(directory: Path) -> dict[str, Any]:
    try:
        document = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{directory} is no run: it has no readable {RUN_FILE}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{directory / RUN_FILE} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise StoreError(f"{directory / RUN_FILE} is damaged: it is no JSON object")
    return migrate(document)


def _records(path: Path) -> Sequence[Record]:
    records = []
    for number, line in enumerate(_complete_lines(path), start=1):
        try:
            records.append(decode_record(line.decode("utf-8")))
        except (StoreError, UnicodeDecodeError) as error:
            raise StoreError(f"{path}:{number}: {error}") from error
    return records


def _complete_lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]  # what follows the last newline was cut short, maybe within a character


def _drop_cut_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
        os.fsync(file.fileno())


def _write_header(directory: Path, header: Mapping[str, Any]) -> None:
    staging = directory / f"{RUN_FILE}.partial"
    staging.write_text(json.dumps(header, indent=1, ensure_ascii=False), encoding="utf-8")
    _publish(staging, directory / RUN_FILE)


def _publish(staging: Path, target: Path) -> None:
    """Let a finished file appear under its name, durably and in one step."""
    _sync(staging)
    staging.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
