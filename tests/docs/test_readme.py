"""What the README shows can be typed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.suite import parse_suite
from tests.docs.blocks import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_suite_is_valid() -> None:
    [text] = fenced("yaml")
    assert parse_suite(text, "README.md").spec.suite == "mine"


def test_the_dataframe_has_the_columns_shown() -> None:
    [text] = fenced("python")
    names = re.findall(r'"(\w+)"', text.splitlines()[-1])
    frame = harness.load(ROOT / "results" / "published")
    assert len(names) == 6
    assert set(names) <= set(frame.columns)


def test_every_command_shown_exists() -> None:
    commands = {line.split()[1] for block in fenced("") for line in block.splitlines() if line.startswith("harness ")}
    assert len(commands) >= 10
    shown = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name for name in commands if not re.search(rf"\b{name}\b", shown.stdout)} == set()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: Path(p).name)
def test_every_link_of_the_docs_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
