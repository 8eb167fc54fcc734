"""The commands about one scenario: simulate, run, replay; and report, schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinsim.cli import options
from spinsim.cli.support import (
    FAILED,
    INTERRUPTED,
    Progress,
    exit_codes,
    print_json,
    progress_bar,
    show_summary,
)

if TYPE_CHECKING:
    from spinsim.api import Results


@exit_codes
def simulate(
    scenario: options.Scenario,
    out: options.Out = None,
    seed: options.Seed = None,
    set_: options.Set = None,
    device: options.DeviceOption = None,
    intervals: Annotated[
        int, typer.Option("--intervals", min=0, metavar="N", help="90 % intervals from N runs with noise.")
    ] = 0,
    plugin: options.Plugin = None,
    json: options.Json = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict a scenario from costs and acceptance."""
    from spinsim import api

    folder = out or Path("results") / f"{_named(scenario, set_, plugin)}-simulated"

    def experiment(progress: Progress | None) -> Results:
        return api.simulate(
            scenario,
            set=set_ or (),
            seed=seed,
            device=device,
            intervals=intervals,
            plugins=plugin or (),
            out=folder,
            force=force,
            progress=progress,
        )

    _into(folder, experiment, json=json, quiet=quiet)


@exit_codes
def run(
    scenario: options.Scenario,
    out: options.Out = None,
    seed: options.Seed = None,
    set_: options.Set = None,
    device: options.DeviceOption = None,
    graphs: Annotated[
        bool, typer.Option("--graphs/--no-graphs", help="CUDA graphs; without them only for debugging.")
    ] = True,
    plugin: options.Plugin = None,
    json: options.Json = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Execute a scenario with real models on real devices."""
    from spinsim import api

    folder = out or Path("results") / f"{_named(scenario, set_, plugin)}-live"

    def experiment(progress: Progress | None) -> Results:
        return api.run(
            scenario,
            folder,
            set=set_ or (),
            seed=seed,
            device=device,
            graphs=graphs,
            plugins=plugin or (),
            force=force,
            progress=progress,
        )

    _into(folder, experiment, json=json, quiet=quiet)


@exit_codes
def replay(
    folder: options.Folder,
    plugin: options.Plugin = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Feed a live run's inputs through the engine again."""
    from dataclasses import asdict

    from spinsim import api

    result = api.replay(folder, plugins=plugin or ())
    counted = f"{result.inputs:,} inputs, {result.rounds:,} rounds, {result.decisions:,} decisions"
    if json:
        print_json(asdict(result))
    if result.difference:
        typer.echo(f"{folder}: not the same run: {result.difference} ({counted})", err=True)
        raise typer.Exit(FAILED)
    if not (json or quiet):
        typer.echo(f"{folder}: the same decisions, bit for bit: {counted}")


@exit_codes
def report(
    folder: options.Folder,
    cell: Annotated[
        str | None, typer.Option(help="Key of a study's cell, or how it begins: opened as the page of a run.")
    ] = None,
    request_tracks: Annotated[
        bool, typer.Option("--request-tracks", help="Also write a timeline with a track for each request.")
    ] = False,
    plugin: options.Plugin = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a results folder's report.html again."""
    from spinsim import api

    path = api.report(folder, cell=cell, request_tracks=request_tracks, plugins=plugin or ())
    if not quiet:
        typer.echo(str(path))


@exit_codes
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from spinsim import api

    print_json(api.schema())


def _named(scenario: Path, set_: list[str] | None, plugins: list[Path] | None) -> str:
    """The scenario's name, of which the folder's is made."""
    from spinsim.policies.plugins import load_plugins
    from spinsim.scenario_file import load

    load_plugins(plugins or ())
    return load(scenario, set_ or ()).scenario.name


def _into(folder: Path, experiment: Callable[[Progress | None], Results], *, json: bool, quiet: bool) -> None:
    """Run an experiment into a results folder and show its summary."""
    before = _written_at(folder)
    try:
        with progress_bar(enabled=not quiet) as progress:
            summary = experiment(progress).summary
    except Exception as error:
        if _written_at(folder) != before:
            error.add_note(f"partial results in {folder}")
        raise
    show_summary(summary, folder, as_json=json, quiet=quiet)
    if summary.get("interrupted"):
        typer.echo(f"interrupted; partial results in {folder}", err=True)
        raise typer.Exit(INTERRUPTED)


def _written_at(out: Path) -> int | None:
    """When results were last written to ``out``, in nanoseconds; None where there are none."""
    path = out / "summary.json"
    return path.stat().st_mtime_ns if path.is_file() else None
