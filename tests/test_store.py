from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from harness.codec import encode_record
from harness.errors import StoreError, UserError
from harness.schema import SCHEMA_VERSION, Record, Status
from harness.store import (
    JOURNAL_FILE,
    RECORDS_FILE,
    RUN_FILE,
    RunWriter,
    find_runs,
    read_journal,
    read_note,
    read_run,
    read_table,
    survey,
)
from tests.conftest import fake_trial


def record(name: str, reason: str | None = None) -> Record:
    return Record("r", fake_trial(name), Status.FAILED, "host", "2026-01-01T00:00:00Z", reason=reason)


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return RunWriter(tmp_path / "results" / "r", {"suite": "s"})


def test_what_was_appended_is_read_in_order(writer: RunWriter) -> None:
    records = [record("a"), record("b", "broke\nin two lines – µ\u2028"), record("c")]
    for item in records:
        writer.append(item)
    run = read_run(writer.directory)
    assert run.records == tuple(records)
    assert run.header == {"schema_version": SCHEMA_VERSION, "suite": "s"}
    assert run.name == "r"


def test_a_run_without_records_is_a_run(writer: RunWriter) -> None:
    assert read_run(writer.directory).records == ()


def test_a_folder_is_never_written_twice(writer: RunWriter) -> None:
    with pytest.raises(UserError, match=r"cannot create .* --results"):
        RunWriter(writer.directory, {})


def test_a_last_line_cut_anywhere_is_ignored(writer: RunWriter) -> None:
    writer.append(record("a"))
    file = writer.directory / RECORDS_FILE
    complete = file.read_bytes()
    last = encode_record(record("b", "half a character: µ")).encode()
    for cut in range(len(last) + 1):
        file.write_bytes(complete + last[:cut])
        assert read_run(writer.directory).records == (record("a"),)


@pytest.mark.parametrize("damage", [b'{"run": ', b"\xb5", b""])
def test_a_damaged_line_in_the_middle_is_named_with_file_and_line(writer: RunWriter, damage: bytes) -> None:
    writer.append(record("a"))
    file = writer.directory / RECORDS_FILE
    file.write_bytes(file.read_bytes() + damage + b"\n")
    writer.append(record("c"))
    with pytest.raises(StoreError, match=rf"{RECORDS_FILE}:2: "):
        read_run(writer.directory)


def test_a_run_of_a_newer_version_is_refused_with_the_remedy(writer: RunWriter) -> None:
    (writer.directory / RUN_FILE).write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(StoreError, match="pip install -U"):
        read_run(writer.directory)


def test_a_damaged_header_is_named(writer: RunWriter) -> None:
    for damage in (b"{", b"[1]", b"\xff\xfe"):
        (writer.directory / RUN_FILE).write_bytes(damage)
        with pytest.raises(StoreError, match=r"run\.json is damaged"):
            read_run(writer.directory)


def test_a_folder_without_a_header_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        read_run(tmp_path)


def test_runs_are_found_from_the_run_its_folder_or_not_at_all(tmp_path: Path) -> None:
    results = tmp_path / "results"
    RunWriter(results / "later", {"started_at": "2026-01-03T00:00:00Z"})
    RunWriter(results / "earlier", {"started_at": "2026-01-02T00:00:00Z"})
    RunWriter(results / "published" / "kept", {"started_at": "2026-01-01T00:00:00Z"})
    (results / "no-run").mkdir()
    assert find_runs(results / "later") == [results / "later"]
    assert find_runs(results) == [results / "published" / "kept", results / "earlier", results / "later"]
    assert find_runs(results / "no-run") == []
    with pytest.raises(UserError, match="does not exist; harness run SUITE makes results"):
        find_runs(tmp_path / "nothing")


def test_runs_are_ordered_by_their_start_then_name_whatever_touched_their_folders(tmp_path: Path) -> None:
    for age, name in enumerate(["b", "a", "c"]):
        RunWriter(tmp_path / name, {"started_at": "2026-01-02T00:00:00Z" if name == "c" else "2026-01-01T00:00:00Z"})
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert [p.name for p in find_runs(tmp_path)] == ["a", "b", "c"]


def test_a_damaged_run_is_told_apart_and_hides_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RunWriter(tmp_path / name, {"started_at": f"2026-01-01T00:00:00Z-{name}"})
    (tmp_path / "b" / RUN_FILE).write_text("{")
    seen = survey(tmp_path)
    assert seen.runs == (tmp_path / "a",)
    assert "run.json is damaged" in str(seen.damaged[tmp_path / "b"])
    assert find_runs(tmp_path) == [tmp_path / "b", tmp_path / "a"]


def test_a_reopened_run_is_appended_to_after_its_cut_last_lines_are_dropped(writer: RunWriter) -> None:
    writer.append(record("a"))
    writer.note({"kind": "x"})
    for name in (RECORDS_FILE, JOURNAL_FILE):
        with (writer.directory / name).open("ab") as file:
            file.write(b'{"cut": "\xc2')
    again = RunWriter.reopen(read_run(writer.directory), "2026-01-02T00:00:00Z")
    again.append(record("b"))
    again.note({"kind": "y"})
    assert read_run(writer.directory).records == (record("a"), record("b"))
    assert [d["kind"] for d in read_journal(writer.directory)] == ["x", "y"]


def test_each_resumption_is_listed_in_the_header(writer: RunWriter) -> None:
    for time in ("first", "second"):
        RunWriter.reopen(read_run(writer.directory), time)
    header = read_run(writer.directory).header
    assert header == {"schema_version": SCHEMA_VERSION, "suite": "s", "resumed_at": ["first", "second"]}


def test_a_header_that_cannot_be_rewritten_stays_as_it_was(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(writer.directory)

    def fail(self: Path, text: str, encoding: str) -> None:
        with self.open("w") as file:
            file.write(text[:5])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        RunWriter.reopen(run, "now")
    assert read_run(writer.directory).header == run.header


def test_a_journal_line_cut_anywhere_is_left_out_and_a_damaged_one_is_named(writer: RunWriter) -> None:
    assert read_journal(writer.directory) == []
    writer.note({"kind": "a"})
    file = writer.directory / JOURNAL_FILE
    complete = file.read_bytes()
    for cut in range(len(complete)):
        file.write_bytes(complete + complete[:cut])
        assert [d["kind"] for d in read_journal(writer.directory)] == ["a"]
    for damage in (b"{", b"[]", b"\xff"):
        file.write_bytes(complete + damage + b"\n")
        with pytest.raises(StoreError, match=rf"{JOURNAL_FILE}:2: "):
            read_journal(writer.directory)


def test_a_note_travels_in_its_table(writer: RunWriter) -> None:
    name = writer.table("t.parquet", {"x": [1]}, note={"seconds": 0.1, "µ": "é"})
    assert read_note(writer.directory / name) == {"schema_version": SCHEMA_VERSION, "seconds": 0.1, "µ": "é"}
    assert read_table(writer.directory / name).to_pydict() == {"x": [1]}
    bare = writer.table("bare.parquet", {"x": [1]})
    with pytest.raises(StoreError, match="holds no note"):
        read_note(writer.directory / bare)


def test_a_table_reads_as_it_was_written(writer: RunWriter) -> None:
    name = writer.table("samples/e/group-0.parquet", {"trial": ["a", "b"], "ns": np.array([1, 2])})
    assert read_table(writer.directory / name).to_pydict() == {"trial": ["a", "b"], "ns": [1, 2]}
    assert [p.name for p in (writer.directory / "samples" / "e").iterdir()] == ["group-0.parquet"]


def test_a_table_that_fails_midway_leaves_the_old_one(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    name = writer.table("t.parquet", {"x": [1]})

    def fail(table: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("harness.store.pq.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        writer.table("t.parquet", {"x": [2]})
    with pytest.raises(OSError, match="disk full"):
        writer.table("new.parquet", {"x": [2]})
    assert read_table(writer.directory / name).to_pydict() == {"x": [1]}
    assert not (writer.directory / "new.parquet").exists()


def test_a_missing_or_damaged_table_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    for name in ("bad.parquet", "none.parquet"):
        with pytest.raises(StoreError, match=f"{name} cannot be read"):
            read_table(tmp_path / name)
