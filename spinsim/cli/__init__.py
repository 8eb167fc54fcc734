"""The command line: the functions of :mod:`spinsim.api` as commands.

An option is said once, in the signature of the API's function (:mod:`spinsim.api.options`). Here is what only
the command line has: the table of commands (:mod:`~spinsim.cli.program`), ``--json`` and ``--quiet``
(:mod:`~spinsim.cli.command`), and how results are printed.

To add a command:

1. Write its function in ``spinsim/api``, with an ``Option`` or ``Argument`` in the type of each parameter
   that is an option. The first paragraph of its docstring is the command's help. Export it there.
2. Write ``show_RESULT(result, shown)`` here, beside those of its kind. It prints to the terminal.
3. Add ``Command("FUNCTION", show_RESULT)`` to the table in ``program.py``.

``--help`` reads the signatures. The API's modules therefore import what is heavy inside their functions.
"""

from __future__ import annotations

from spinsim.cli.program import app


def main() -> None:
    """The ``spinsim`` command."""
    app(prog_name="spinsim")  # also as python -m spinsim


__all__ = ["app", "main"]
