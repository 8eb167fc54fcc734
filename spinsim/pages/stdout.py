"""Stdout as a console, for tables that a person looks at."""

from __future__ import annotations

import os

from rich.console import Console

from spinsim.pages.run_terminal import WIDTH


def stdout_console() -> Console:
    """A terminal has its own width; a file or a pipe has ``WIDTH`` columns, or as ``COLUMNS`` says."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console
