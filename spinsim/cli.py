"""The commands. Thin: heavy imports are inside, so that ``--help`` is quick."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import spinsim
from spinsim import cli_experiments, cli_fidelity, cli_models
from spinsim.cli_support import (
    FAILED,
    INTERRUPTED,
    check_out,
    exit_codes,
    print_json,
    progress_bar,
    show_summary,
    written_at,
)
from spinsim.errors import InputError

if TYPE_CHECKING:
    from spinsim.scenario_file import LoadedScenario

app = typer.Typer(
    name="spinsim",
    help="Simulate and run schedules of speculative decoding with several heterogeneous drafts.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take as long to import as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    """Where all models go."""

    CPU = "cpu"
    CUDA = "cuda"


ScenarioArgument = Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario's YAML.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Results folder [results/NAME-MODE].")
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the scenario's seed.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Overrides a key of the scenario; repeatable."),
]
DeviceOption = Annotated[
    Device | None, typer.Option("--device", help="Puts every model on the CPU, or on GPUs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints the summary as JSON, and nothing else.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrites an existing results folder.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Prints errors only.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spinsim {spinsim.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints the version.")
    ] = False,
) -> None:
    pass


@app.command()
@exit_codes
def simulate(
    scenario: ScenarioArgument,
    out: OutOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    intervals: Annotated[
        int, typer.Option("--intervals", min=0, metavar="N", help="90 % intervals from N runs with noise.")
    ] = 0,
    plugin: cli_experiments.PluginOption = None,
    json: JsonOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict a scenario from costs and acceptance."""
    loaded = _load(scenario, seed, set_ or [], device, plugin)
    from functools import partial

    from spinsim.experiments.simulate import simulate as simulation

    experiment = partial(simulation, intervals=intervals)
    _experiment(experiment, loaded, "simulated", out, json=json, force=force, quiet=quiet)


@app.command()
@exit_codes
def run(
    scenario: ScenarioArgument,
    out: OutOption = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    graphs: Annotated[
        bool, typer.Option("--graphs/--no-graphs", help="CUDA graphs; without them only for debugging.")
    ] = True,
    plugin: cli_experiments.PluginOption = None,
    json: JsonOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Execute a scenario with real models on real devices."""
    overrides = list(set_ or []) + ([] if graphs else ["live.graphs=false"])
    loaded = _load(scenario, seed, overrides, device, plugin)
    from spinsim.experiments.run import run as experiment

    _experiment(experiment, loaded, "live", out, json=json, force=force, quiet=quiet)


@app.command()
@exit_codes
def replay(folder: FolderArgument, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Feed a live run's inputs through the engine again."""
    from dataclasses import asdict

    from spinsim.experiments.replay import replay as experiment

    result = experiment(folder)
    counted = f"{result.inputs:,} inputs, {result.rounds:,} rounds, {result.decisions:,} decisions"
    if json:
        print_json(asdict(result))
    if result.difference:
        typer.echo(f"{folder}: not the same run: {result.difference} ({counted})", err=True)
        raise typer.Exit(FAILED)
    if not (json or quiet):
        typer.echo(f"{folder}: the same decisions, bit for bit: {counted}")


@app.command()
@exit_codes
def report(folder: FolderArgument, quiet: QuietOption = False) -> None:
    """Write a results folder's report.html again."""
    from spinsim.reporting.html import write_report

    path = write_report(folder)
    if not quiet:
        typer.echo(str(path))


@app.command()
@exit_codes
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from spinsim.scenario_schema import scenario_schema

    print_json(scenario_schema())


cli_experiments.mount(app)


cli_fidelity.mount(app)
app.add_typer(cli_models.app, name="models")


def _load(
    path: Path,
    seed: int | None,
    overrides: list[str],
    device: Device | None,
    plugins: list[Path] | None = None,
) -> LoadedScenario:
    from spinsim.scenario_file import load

    if plugins:
        from spinsim.plugins import load_plugins

        load_plugins(plugins)
    seeds = [] if seed is None else [f"seed={seed}"]
    return load(path, [*overrides, *seeds], device.value if device else None)


def _experiment(
    experiment: Any,
    loaded: LoadedScenario,
    mode: str,
    out: Path | None,
    *,
    json: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Run an experiment into a results folder and show its summary."""
    folder = out or Path("results") / f"{loaded.scenario.name}-{mode}"
    check_out(folder, force=force)
    before = written_at(folder)
    try:
        with progress_bar(enabled=not quiet) as progress:
            summary = experiment(loaded, out=folder, progress=progress)
    except InputError as error:
        raise loaded.places.locate(error) from None
    except Exception as error:
        if written_at(folder) != before:
            error.add_note(f"partial results in {folder}")
        raise
    show_summary(summary, folder, as_json=json, quiet=quiet)
    if summary.get("interrupted"):
        typer.echo(f"interrupted; partial results in {folder}", err=True)
        raise typer.Exit(INTERRUPTED)


def main() -> None:
    """The ``spinsim`` command."""
    app()
