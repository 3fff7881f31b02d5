"""``harness schema suite``: the JSON Schema of a file that users write."""

from __future__ import annotations

import json
from enum import StrEnum

import typer


class Kind(StrEnum):
    """What has a schema."""

    SUITE = "suite"


def schema(kind: Kind = typer.Argument(help="Which file.")) -> None:  # noqa: ARG001 (there is one kind so far)
    """Print a JSON Schema, for an editor that completes and checks YAML while it is typed."""
    from harness.suite import SuiteFile

    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SuiteFile.model_json_schema(),
        "title": "optimization-harness suite",
    }
    print(json.dumps(document, indent=2))
