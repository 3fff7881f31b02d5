"""Records and other documents ⇄ JSON, with a schema version and pure migrations.

A document of an older version is migrated while it is read; one of a newer version is refused with the remedy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.schema import SCHEMA_VERSION, Artifact, Execution, Record, Scenario, Trial

Document = dict[str, Any]


def _v1_to_v2(document: Document) -> Document:
    """Version 2 knows models of the user's own. Before, an artifact's code was always a model file.

    Energy, utilization and device memory became documents; version 1 never measured them.
    """
    document = {**document, "schema_version": 2}
    for old, new in (("energy_j", "energy"), ("utilization", "utilization"), ("device_memory_bytes", "device_memory")):
        if old in document:
            value = document.pop(old)
            document[new] = (
                value if isinstance(value, dict) else {"reason": "version 1 did not tell how it was measured"}
            )
    artifact = document.get("artifact")
    if isinstance(artifact, dict) and artifact.get("code"):
        document["artifact"] = {**artifact, "code": artifact["code"][1]}
    return document


def _v2_to_v3(document: Document) -> Document:
    """Version 3 tells what was executed. Before, nobody asked the runtime."""
    return {**document, "schema_version": 3, "execution": {"reason": "version 2 did not ask the runtime"}}


# version → function that turns a document of that version into one of the next.
MIGRATIONS: Mapping[int, Callable[[Document], Document]] = {1: _v1_to_v2, 2: _v2_to_v3}

_RECORD = TypeAdapter(Record)
_TRIAL = TypeAdapter(Trial)
_ARTIFACT = TypeAdapter(Artifact)
_SCENARIO = TypeAdapter(Scenario)
_EXECUTION = TypeAdapter(Execution)


def encode_record(record: Record) -> str:
    """Return the record as one line of JSON."""
    return json.dumps(_RECORD.dump_python(record, mode="json"), ensure_ascii=False, allow_nan=False)


def decode_record(text: str) -> Record:
    """Read one line; raises StoreError when it is damaged or of a newer version."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"a record is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise StoreError("a record is not a JSON object")
    try:
        return _RECORD.validate_python(migrate(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise StoreError(f"a record has a wrong field {where}: {first['msg']}") from error


def migrate(document: Document) -> Document:
    """Bring a document to the present version; raises StoreError when that is not possible."""
    version = document.get("schema_version")
    if not isinstance(version, int):
        raise StoreError("a document has no schema_version")
    if version < 1:
        raise StoreError(f"a document has the impossible schema version {version}")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"schema version {version} is newer than this harness reads ({SCHEMA_VERSION}); "
            "upgrade with pip install -U optimization-harness"
        )
    while version < SCHEMA_VERSION:
        document = MIGRATIONS[version](document)
        version += 1
    return document


def trial_to_json(trial: Trial) -> Document:
    """Return a trial as JSON-ready data."""
    document: Document = _TRIAL.dump_python(trial, mode="json")
    return document


def artifact_from_json(document: Document) -> Artifact:
    """Read an artifact from JSON data; raises StoreError when it is damaged."""
    try:
        return _ARTIFACT.validate_python(document)
    except ValidationError as error:
        raise StoreError(f"an artifact description is damaged: {error.errors()[0]['msg']}") from error


def scenario_from_json(document: Document) -> Scenario:
    """Read a scenario from JSON data; raises StoreError when it is damaged."""
    try:
        return _SCENARIO.validate_python(document)
    except ValidationError as error:
        raise StoreError(f"a scenario is damaged: {error.errors()[0]['msg']}") from error


def execution_from_json(document: Document) -> Execution:
    """Read what was executed from JSON data; raises StoreError when it is damaged."""
    try:
        return _EXECUTION.validate_python(document)
    except ValidationError as error:
        raise StoreError(f"what was executed is damaged: {error.errors()[0]['msg']}") from error


def artifact_to_json(artifact: Artifact) -> Document:
    """Return an artifact as JSON-ready data."""
    document: Document = _ARTIFACT.dump_python(artifact, mode="json")
    return document
