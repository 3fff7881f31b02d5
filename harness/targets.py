"""Python targets: ``path/to/file.py:name`` and ``package.module:name``, as a user writes them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.cache import hash_files
from harness.errors import UserError, did_you_mean
from harness.zoo import import_file


@dataclass(frozen=True)
class Target:
    """A name in a Python file (``place`` ends in .py) or in a module."""

    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether ``place`` is a file's path."""
        return self.place.endswith(".py")

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


def is_target(text: str) -> bool:
    """Whether ``text`` has the form of a target."""
    place, colon, name = text.rpartition(":")
    return bool(colon and place) and name.isidentifier()


def parse_target(text: str, base: Path | None = None) -> Target:
    """Read ``file.py:name`` (the file taken relative to ``base``) or ``package.module:name``.

    Raises UserError for another form, and for a file that does not exist.
    """
    if not is_target(text):
        raise UserError(f"'{text}' is neither file.py:name nor package.module:name")
    place, _, name = text.rpartition(":")
    if not place.endswith(".py"):
        return Target(place, name)
    path = ((base or Path()) / place).resolve()
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return Target(str(path), name)


def import_place(place: str, folder: str = "") -> ModuleType:
    """Import a file, or a module that is installed or lies in ``folder`` or the working directory.

    Raises UserError with the reason of the failure.
    """
    if place.endswith(".py"):
        module: ModuleType = import_file(Path(place))
        return module
    for entry in (folder, str(Path.cwd())):
        if entry and entry not in sys.path:
            sys.path.append(entry)
    try:
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:  # a script's argparse ends the program
        raise UserError(f"module {place} cannot be imported: {type(error).__name__}: {error}") from error


def resolve(target: Target, folder: str = "") -> Any:
    """Return what a target names; raises UserError when it is not there."""
    module = import_place(target.place, folder)
    try:
        return getattr(module, target.name)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise UserError(f"{target.place} has no '{target.name}'{did_you_mean(target.name, public)}") from None


def call(function: Callable[..., Any], target: Target, *arguments: Any) -> Any:
    """Call a user's function; raises UserError that says where it failed, chained to its own error."""
    try:
        return function(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a script's argparse ends the program
        raise UserError(f"{target} raised {type(error).__name__}: {error}") from error


def code_hash(place: str, folder: str = "") -> str:
    """Hash the source of a place and of everything it has imported from its own folder or package.

    So an edited helper is noticed as well as the file itself.
    """
    module = import_place(place, folder)
    own = Path(str(module.__file__)).resolve()
    root = own.parent
    if not place.endswith(".py") and "." in place:
        folders = [Path(entry).resolve() for entry in sys.modules[place.partition(".")[0]].__path__]
        root = next((folder for folder in folders if folder in own.parents), root)
    files = {own}
    for loaded in list(sys.modules.values()):
        file = getattr(loaded, "__file__", None)
        # Some modules name files that do not exist (torch.classes: _classes.py).
        if file and file.endswith(".py") and Path(file).is_file() and _is_own(Path(file).resolve(), root):
            files.add(Path(file).resolve())
    return hash_files(sorted(files))


def _is_own(file: Path, root: Path) -> bool:
    """Whether a file lies below ``root``, and not in an environment that happens to lie there too."""
    return root in file.parents and not {"site-packages", "dist-packages"} & set(file.relative_to(root).parts)
