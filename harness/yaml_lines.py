"""YAML that remembers where everything stands, so that a complaint can name the line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from harness.errors import SuiteError

Place = tuple[str | int, ...]  # keys and positions from the top of the document


def read_yaml(text: str, file: str) -> tuple[Any, dict[Place, int]]:
    """Return the document and the 1-based line of each place in it; ``file`` is what errors name.

    Raises SuiteError for an empty text, one that is no YAML, and a key that stands twice.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # refuses control characters already
        node = loader.get_single_node()
        if node is None:
            raise SuiteError("is empty; a suite needs the keys 'suite' and 'experiments'", file=file)
        lines: dict[Place, int] = {}
        _collect(node, (), lines, file)
        data = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date, an anchor within itself
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise SuiteError(f"is not valid YAML: {problem}", file=file, line=mark.line + 1 if mark else None) from error
    finally:
        if loader is not None:
            loader.dispose()
    return data, lines


def line_of(lines: Mapping[Place, int], path: Sequence[str | int]) -> int | None:
    """Return the line of a place in the document, or of its closest parent that has one."""
    for end in range(len(path), -1, -1):
        line = lines.get(tuple(path[:end]))
        if line is not None:
            return line
    return None


def _collect(node: yaml.Node, path: Place, lines: dict[Place, int], file: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise SuiteError("a key must be plain text; quote it if it begins with a bracket", file=file, line=line)
            if key.value in seen:
                raise SuiteError(
                    f"key '{key.value}' stands twice, first in line {seen[key.value]}; remove one",
                    file=file,
                    line=line,
                )
            seen[key.value] = line
            lines[(*path, key.value)] = line
            _collect(value, (*path, key.value), lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect(item, (*path, index), lines, file)
