"""``harness init``: a suite and a model file to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer
from rich.markup import escape

from harness.cli.console import CONSOLE

FILES = ("suite.yaml", "my_model.py")


def init(
    folder: Path = typer.Argument(Path(), help="Where to write; made when it does not exist."),
    force: bool = typer.Option(False, help="Overwrite files that exist."),
) -> None:
    """Write a commented suite and a model file that run at once, to be changed into your own."""
    from harness.errors import UserError

    taken = [name for name in FILES if (folder / name).exists()]
    if taken and not force:
        raise UserError(f"{folder / taken[0]} exists; name another folder, or overwrite it with --force")
    templates = Path(__file__).parent / "templates"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_text((templates / f"{name}.txt").read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; name another folder") from error
    CONSOLE.print(f"wrote {escape(str(folder / FILES[0]))} and {escape(str(folder / FILES[1]))}")
    CONSOLE.print(f"run it:   harness run {escape(shlex.quote(str(folder / FILES[0])))}")
    CONSOLE.print("more:     docs/your-own-model.md")
