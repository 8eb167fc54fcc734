"""The commands about fidelity: profile, trace, validate. Torch is imported inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spinsim.cli_support import exit_codes, print_json, progress_bar
from spinsim.errors import InputError

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Overrides a key of the scenario; repeatable."),
]
ScenarioArgument = Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario's YAML.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the scenario's seed.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="Puts every model on the CPU, or on GPUs.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints the result as JSON, and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Prints errors only.")]


def mount(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(profile)
    app.command()(trace)
    app.command()(validate)


def _load(path: Path, seed: int | None, overrides: list[str] | None, device: str | None) -> Any:
    from spinsim.scenario_file import load

    seeds = [] if seed is None else [f"seed={seed}"]
    return load(path, [*(overrides or []), *seeds], device)


@exit_codes
def profile(
    scenario: ScenarioArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The profile [profiles/NAME-HARDWARE.json].")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points; under a minute on a CPU.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Goes on with the file, point by point.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Measures some points of the file once more, for intervals.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Bounds the measuring [5; quick: 0.75].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begins anew over an existing file.")] = False,
    seed: SeedOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure this machine for a scenario's models."""
    loaded = _load(scenario, seed, set_, device)
    from spinsim.experiments import profile as experiment

    try:
        with progress_bar(enabled=not quiet) as progress:
            if again:
                path = out or experiment.default_path(loaded.scenario)
                drift = experiment.again(loaded, path, progress)
            else:
                budget = None if minutes is None else 60 * minutes
                done = experiment.profile(
                    loaded, out, quick=quick, resume=resume, force=force, budget_s=budget, progress=progress
                )
    except InputError as error:
        raise loaded.places.locate(error) from None
    if again:
        if json:
            print_json({"profile": str(path), "factors": drift.factors})
        elif not quiet:
            from spinsim.reporting.fidelity import print_drift

            print_drift(drift.points, path)
    elif json:
        said = {"profile": str(done.path), "seconds": done.seconds, "added": done.added}
        print_json(said | {"fits": done.fits})
    elif not quiet:
        from spinsim.reporting.fidelity import print_profile

        print_profile(done)


@exit_codes
def trace(
    scenario: ScenarioArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The trace [traces/NAME.npz].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrites an existing trace.")] = False,
    seed: SeedOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Record the acceptance of a scenario's real models over its prompts."""
    loaded = _load(scenario, seed, set_, device)
    from spinsim.experiments.trace import trace as experiment
    from spinsim.reporting.fidelity import describe_trace, print_trace

    try:
        with progress_bar(enabled=not quiet) as progress:
            done = experiment(loaded, out, force=force, progress=progress)
    except InputError as error:
        raise loaded.places.locate(error) from None
    if json:
        print_json(describe_trace(done.trace) | {"trace": str(done.path), "skipped": done.skipped})
    elif not quiet:
        print_trace(done.trace, done.path, done.skipped)


@exit_codes
def validate(
    scenarios: Annotated[
        list[Path], typer.Argument(metavar="SCENARIO...", help="Scenarios, or sweeps of them, as YAML.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Results folder [results/NAME-validate].")
    ] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Live runs of every cell.")] = 3,
    intervals: Annotated[
        int, typer.Option("--intervals", min=0, help="Simulated runs behind each 90 % interval; 0: none.")
    ] = 20,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY.PATH=V1,V2,...", help="Varies a key of all; repeatable."),
    ] = None,
    loads: Annotated[
        list[float] | None,
        typer.Option("--load", help="Adds Poisson cells at this share of a closed cell's rate; repeatable."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="Longest live run of a cell; workloads are cut to it.")
    ] = 8.0,
    resume: Annotated[bool, typer.Option("--resume", help="Keeps the cells that are finished.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begins anew over earlier results.")] = False,
    seed: SeedOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run scenarios live and simulated, and say how far apart they are."""
    from spinsim.experiments import validate as experiment
    from spinsim.experiments.validation_plan import plan
    from spinsim.reporting.fidelity import print_validation

    seeds = [] if seed is None else [f"seed={seed}"]
    cells = plan(scenarios, grid or [], [*(set_ or []), *seeds], device)
    folder = out or Path("results") / f"{scenarios[0].stem}-validate"
    options = experiment.Options(
        repetitions=repetitions, intervals=intervals, seconds=seconds, loads=tuple(loads or ())
    )
    with progress_bar(enabled=not quiet) as progress:
        done = experiment.validate(cells, folder, options, resume=resume, force=force, progress=progress)
    if json:
        print_json(done)
    elif not quiet:
        print_validation(done, folder)
