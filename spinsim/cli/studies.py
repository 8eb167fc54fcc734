"""How experiments of many simulations are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import FAILED, print_json

if TYPE_CHECKING:
    from spinsim.api import Capacity, Comparison, Ladder, Sweep, Tuning


def folder(study: str) -> Callable[[Mapping[str, Any]], Path]:
    """``results/FILE-STUDY``, of the name of the scenario's file."""

    def of(given: Mapping[str, Any]) -> Path:
        first = given["scenario"] if "scenario" in given else next(iter(given["scenarios"]), Path())
        return Path("results") / f"{first.stem}-{study}"

    return of


def show_comparison(done: Comparison, shown: Shown) -> None:
    """Means and paired differences."""
    from spinsim.pages.study_terminal import print_comparison

    _show(done, shown, print_comparison)


def show_sweep(done: Sweep, shown: Shown) -> None:
    """A row for each combination."""
    from spinsim.pages.study_terminal import print_sweep

    _show(done, shown, print_sweep)


def show_capacity(done: Capacity, shown: Shown) -> None:
    """The rate, and the curve around it."""
    from spinsim.pages.study_terminal import print_capacity

    _show(done, shown, print_capacity)


def show_tuning(done: Tuning, shown: Shown) -> None:
    """The winners, and their gain."""
    from spinsim.pages.study_terminal import print_tuning

    _show(done, shown, print_tuning)


def show_ladder(done: Ladder, shown: Shown) -> None:
    """A row for each step."""
    from spinsim.pages.ladder_terminal import print_ladder

    _show(done, shown, print_ladder)


def _show(done: Any, shown: Shown, print_it: Callable[[Any, Any], None]) -> None:
    """The summary as JSON, or the result as tables. Exit code 1 where cells failed."""
    failed, cells = done.summary["failed"], done.summary["cells"]
    if shown.json:
        print_json(done.summary)
    elif not shown.quiet and len(failed) < cells:
        from rich.console import Console

        console = Console()
        print_it(done.result, console)
        console.print(f"\nresults in {shown.folder}", highlight=False, soft_wrap=True)
    if failed:
        typer.echo(f"{len(failed)} of {cells} cells failed, the first: {failed[0]['error']}", err=True)
        raise typer.Exit(FAILED)
