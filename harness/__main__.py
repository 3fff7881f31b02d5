"""``python -m harness``: the command line, where the installed script is not on the PATH."""

from harness.cli import main

main()
