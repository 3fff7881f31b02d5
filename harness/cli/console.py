"""The consoles of the command line."""

from __future__ import annotations

import sys

from rich.console import Console

WIDTH = 170  # redirected output gets room for the whole table instead of rich's 80 columns

CONSOLE = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
# Progress where stdout belongs to a document: plain lines, in a terminal too.
ERRORS = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False, force_terminal=False)
