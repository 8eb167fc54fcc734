"""The command line. Commands call :mod:`spinsim.api`, imported inside them so that ``--help`` is quick."""

from __future__ import annotations

from spinsim.cli.program import app


def main() -> None:
    """The ``spinsim`` command."""
    app(prog_name="spinsim")  # also as python -m spinsim


__all__ = ["app", "main"]
