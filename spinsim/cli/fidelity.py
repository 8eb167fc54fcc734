"""How profiles, recordings of acceptance and validations are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import FAILED, print_json

if TYPE_CHECKING:
    from spinsim.api import Profiling, Remeasured, Tracing, Validation


def show_profile(profiling: Profiling, shown: Shown) -> None:
    """What was measured, and how well it is fitted."""
    done = profiling.result
    if shown.json:
        said = {"profile": str(done.path), "seconds": done.seconds, "added": done.added}
        said |= {"unrehearsed": list(done.unrehearsed)}
        print_json(said | {"fits": done.fits, "cpus": done.cpus.told()})
    elif not shown.quiet:
        from spinsim.pages.fidelity_terminal import print_profile

        print_profile(done)


def show_drift(repeat: Remeasured, shown: Shown) -> None:
    """How points that were measured again differ from the profile's."""
    if shown.json:
        print_json({"profile": str(repeat.path), "factors": repeat.result.factors})
    elif not shown.quiet:
        from spinsim.pages.fidelity_terminal import print_drift

        print_drift(repeat.result, repeat.path)


def show_trace(tracing: Tracing, shown: Shown) -> None:
    """What was recorded."""
    from spinsim.pages.fidelity_terminal import describe_trace, print_trace

    done = tracing.result
    if shown.json:
        print_json(describe_trace(done.trace) | {"trace": str(done.path), "skipped": done.skipped})
    elif not shown.quiet:
        print_trace(done.trace, done.path, done.skipped)


def show_import(tracing: Tracing, shown: Shown) -> None:
    """What was converted, and what could not be rebuilt."""
    from spinsim.pages.fidelity_terminal import describe_trace, print_trace

    done = tracing.result
    notes = list(getattr(done, "notes", ()))
    if shown.json:
        print_json(describe_trace(done.trace) | {"trace": str(done.path), "notes": notes})
    elif not shown.quiet:
        print_trace(done.trace, done.path, done.skipped)
        for note in notes:
            typer.echo(note)
        typer.echo(f"next: spinsim init mine.yaml --traffic {done.path}   # a scenario of this recording")


def show_validation(validation: Validation, shown: Shown) -> None:
    """How far apart both worlds are. Exit code 1 where cells failed."""
    done, folder = validation.summary, shown.folder
    if shown.given.get("live_only"):
        if not (shown.json or shown.quiet):
            typer.echo(
                f"live runs in {folder}; spinsim validate --again --out {folder} simulates beside them"
            )
        return
    if shown.json:
        print_json(done)
    elif not shown.quiet:
        from spinsim.pages.fidelity_terminal import print_validation

        print_validation(done, folder)
    if failed := done["failed"]:
        count = len(done["cells"]) + len(failed)
        typer.echo(f"{len(failed)} of {count} cells failed: the figures are those of the others", err=True)
        raise typer.Exit(FAILED)
