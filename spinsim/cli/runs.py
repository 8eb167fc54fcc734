"""How one run is printed, and what else a results folder is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import FAILED, INTERRUPTED, print_json

if TYPE_CHECKING:
    from spinsim.api import Results
    from spinsim.studies.replay import Replayed


def simulated_folder(given: Mapping[str, Any]) -> Path:
    """``results/NAME-simulated``, of the scenario's name."""
    return Path("results") / f"{_name(given)}-simulated"


def live_folder(given: Mapping[str, Any]) -> Path:
    """``results/NAME-live``, of the scenario's name."""
    return Path("results") / f"{_name(given)}-live"


def _name(given: Mapping[str, Any]) -> str:
    from spinsim.policies.plugins import load_plugins
    from spinsim.scenario_file import load

    load_plugins(given.get("plugins", ()))
    return load(given["scenario"], given.get("set", ())).scenario.name


def show_run(run: Results, shown: Shown) -> None:
    """The summary as JSON and nothing else, or as a table. An interrupted run ends with exit code 130."""
    from spinsim.results.place import place_of

    folder = place_of(shown.folder, run.summary)
    if shown.json:
        print_json(run.summary)
    elif not shown.quiet:
        from spinsim.pages.run_terminal import print_summary
        from spinsim.pages.stdout import stdout_console

        console = stdout_console()
        print_summary(run.summary, console)
        console.print(f"results in {folder}", highlight=False, soft_wrap=True)
    if run.summary.get("interrupted"):
        kept = "" if folder == shown.folder else f"; the complete ones in {shown.folder} are kept"
        typer.echo(f"interrupted; partial results in {folder}{kept}", err=True)
        raise typer.Exit(INTERRUPTED)


def show_replay(result: Replayed, shown: Shown) -> None:
    """What was counted, and the first difference: exit code 1 where there is one."""
    folder = shown.given["folder"]
    counted = f"{result.inputs:,} inputs, {result.rounds:,} rounds, {result.decisions:,} decisions"
    if shown.json:
        print_json(asdict(result))
    if result.difference:
        typer.echo(f"{folder}: not the same run: {result.difference} ({counted})", err=True)
        raise typer.Exit(FAILED)
    if not (shown.json or shown.quiet):
        typer.echo(f"{folder}: the same decisions, bit for bit: {counted}")


def show_report(path: Path, shown: Shown) -> None:
    """The path of the page."""
    if not shown.quiet:
        typer.echo(str(path))


def show_tables(paths: Sequence[Path], shown: Shown) -> None:
    """The files, a line each."""
    if not shown.quiet:
        typer.echo("\n".join(map(str, paths)))


def show_schema(schema: Mapping[str, Any], shown: Shown) -> None:
    """The JSON Schema."""
    print_json(schema)
