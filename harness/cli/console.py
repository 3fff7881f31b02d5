"""The one console of the command line."""

from __future__ import annotations

import sys

from rich.console import Console

# Redirected output gets room for the whole table instead of rich's 80 columns.
CONSOLE = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
