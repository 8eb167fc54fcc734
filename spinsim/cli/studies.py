"""How experiments of many simulations are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import FAILED, print_json

if TYPE_CHECKING:
    from spinsim.api import Capacity, Comparison, Ladder, Study, Sweep, Tuning
    from spinsim.bundles.check import StudyCheck


def folder(study: str) -> Callable[[Mapping[str, Any]], Path]:
    """``results/FILE-STUDY``, of the name of the scenario's file."""

    def of(given: Mapping[str, Any]) -> Path:
        named = next(given[key] for key in ("scenario", "scenarios", "file") if key in given)
        first = named if isinstance(named, Path) else next(iter(named), Path())
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


def show_study(done: Study, shown: Shown) -> None:
    """What each part found. Exit code 1 where simulations or parts failed."""
    if shown.json:
        print_json(done.summary)
    elif not shown.quiet:
        from spinsim.pages.stdout import stdout_console
        from spinsim.pages.study_index_terminal import print_study

        print_study(done.folder, done.summary, stdout_console())
        typer.echo(f"\nresults in {done.folder}, its page {done.folder / 'report.html'}")
        _tell_of_copies(done.folder)
    if failed := done.summary["failed"]:
        first = f"{failed[0]['labels']['part']}: {failed[0]['error']}"
        typer.echo(f"{len(failed)} of {done.summary['cells']} cells failed, the first: {first}", err=True)
        raise typer.Exit(FAILED)


def _tell_of_copies(folder: Path) -> None:
    """How others check the folder, and what they would lack."""
    from spinsim.bundles.check import manifest_of

    manifest = manifest_of(folder)
    file = Path(manifest["study"]["path"])
    if not file.is_absolute():
        typer.echo(f"to check it, here or elsewhere: spinsim study {folder / file} --check {folder}")
    read = {one["path"] for part in manifest["parts"].values() for one in part.get("inputs", ())}
    if lacking := sorted(path for path in read if Path(path).is_absolute()):
        typer.echo(f"not in the folder, as paths to them are absolute: {', '.join(lacking)}")


def show_check(done: StudyCheck, shown: Shown) -> None:
    """A line each difference, and exit code 1 where there is one."""
    if shown.json:
        print_json(asdict(done))
    elif not shown.quiet:
        for line in done.differences:
            typer.echo(line)
        for name, why in done.left_out.items():
            typer.echo(f"not compared: {name} ({why})")
        if not done.differences:
            typer.echo(f"the same, byte for byte: {done.compared:,} files")
    if done.differences:
        notes = f"; other here: {', '.join(done.notes)}" if done.notes else ""
        typer.echo(f"{len(done.differences)} differences, {done.compared:,} files compared{notes}", err=True)
        raise typer.Exit(FAILED)


def _show(done: Any, shown: Shown, print_it: Callable[[Any, Any], None]) -> None:
    """The summary as JSON, or the result as tables. Exit code 1 where cells failed."""
    failed, cells = done.summary["failed"], done.summary["cells"]
    if shown.json:
        print_json(done.summary)
    elif not shown.quiet and len(failed) < cells:
        from spinsim.pages.stdout import stdout_console

        console = stdout_console()
        print_it(done.result, console)
        console.print(f"\nresults in {shown.folder}", highlight=False, soft_wrap=True)
    if failed:
        typer.echo(f"{len(failed)} of {cells} cells failed, the first: {failed[0]['error']}", err=True)
        raise typer.Exit(FAILED)
