"""Reads what a page of the docs tells its reader to write and to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_BLOCK = re.compile(r"<!-- (?P<kind>file: (?P<name>\S+)|run) -->\n```\w*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """The files and the commands of one page, in order."""

    files: dict[str, str]
    commands: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the page's files below ``folder``."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def read_page(name: str) -> Page:
    """Return the marked blocks of a page, named from the repository's root."""
    text = (ROOT / name).read_text(encoding="utf-8")
    files: dict[str, str] = {}
    commands: list[str] = []
    for match in _BLOCK.finditer(text):
        if match["kind"] == "run":
            commands += match["text"].strip().splitlines()
        else:
            files[match["name"]] = match["text"]
    return Page(files, tuple(commands))
