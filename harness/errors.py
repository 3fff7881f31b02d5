"""The error tree. Every error is one sentence that says what, where, and the remedy.

HarnessError                     exit code 3: the harness itself failed
├── UserError                    exit code 2: something the user wrote or asked for
│   ├── SuiteError               a suite file: carries file and line
│   ├── UnknownNameError         a name that no registry holds: carries a suggestion
│   └── HostLockedError          another measurement runs on this host
├── StoreError                   results that cannot be read, or were written by a newer version
└── TrialError                   one trial cannot go on; becomes a record, the others continue
    ├── UnsupportedError         this pass, backend or option does not exist here
    ├── InvalidOutputError       the outputs, or a pass's effect, are not what was claimed
    └── OutOfMemoryError         an allocation failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Root of all errors the harness raises on purpose."""

    exit_code = 3


class UserError(HarnessError):
    """The input or the request is wrong; the message names the remedy."""

    exit_code = 2


class SuiteError(UserError):
    """A suite file is wrong at a known place.

    Args:
        message: what is wrong and how to mend it.
        file: the path as the user gave it.
        line: 1-based line, or None where no line applies.
    """

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")
        self.file = file
        self.line = line


class UnknownNameError(UserError):
    """No such model, pass, backend, workload or suite; says which name comes closest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"unknown {kind} '{name}'{did_you_mean(name, names)}")
        self.name = name


class HostLockedError(UserError):
    """Two measurements at once would disturb each other; the message names the holder."""


class StoreError(HarnessError):
    """Stored results cannot be read."""


class TrialError(HarnessError):
    """One trial cannot go on. Its message becomes the record's reason."""


class UnsupportedError(TrialError):
    """The combination does not exist here; the message says why and what would make it so."""


class InvalidOutputError(TrialError):
    """An output is not finite, has the wrong shape or is too far off, or a pass changed nothing."""


class OutOfMemoryError(TrialError):
    """The runtime could not allocate memory."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or the list of known names where nothing comes close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
