"""How an engine's configuration and the fit of its benchmarks are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import print_json

if TYPE_CHECKING:
    from spinsim.api import Calibrated, Exported


def show_export(done: Exported, shown: Shown) -> None:
    """The engine's files, as they are to be used; what is not in them goes to stderr."""
    if shown.json:
        print_json(done.summary)
        return
    if shown.quiet:
        return
    for number, (name, text) in enumerate(done.files.items()):
        if number:
            typer.echo(f"\n--- {name}")
        typer.echo(text, nl=False)
    for note in done.result.notes:
        typer.echo(f"note: {note}", err=True)


def show_calibration(done: Calibrated, shown: Shown) -> None:
    """The YAML; with --write, what it was fitted to and how well."""
    if shown.json:
        print_json(done.summary)
    elif "write" in shown.given:
        if not shown.quiet:
            typer.echo(f"{done.result.label}\nwrote {shown.given['write']}")
    elif not shown.quiet:
        typer.echo(done.text, nl=False)
