"""The commands about fidelity: profile, trace, validate. Torch is imported inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinsim.cli import options
from spinsim.cli.support import FAILED, exit_codes, print_json, progress_bar
from spinsim.errors import InputError


@exit_codes
def profile(
    scenario: options.Scenario,
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
    force: options.ForceFile = False,
    seed: options.Seed = None,
    set_: options.Set = None,
    device: options.DeviceOption = None,
    plugin: options.Plugin = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure this machine for a scenario's models."""
    from spinsim import api

    if again and (quick or resume or force or minutes is not None):
        raise InputError(
            "goes with none of --quick, --resume, --minutes, --force; leave them out", key="--again"
        )
    with progress_bar(enabled=not quiet) as progress:
        if again:
            repeat = api.profile_again(
                scenario,
                out=out,
                set=set_ or (),
                seed=seed,
                device=device,
                plugins=plugin or (),
                progress=progress,
            )
        else:
            done = api.profile(
                scenario,
                out=out,
                quick=quick,
                minutes=minutes,
                resume=resume,
                force=force,
                set=set_ or (),
                seed=seed,
                device=device,
                plugins=plugin or (),
                progress=progress,
            ).result
    if again:
        if json:
            print_json({"profile": str(repeat.path), "factors": repeat.result.factors})
        elif not quiet:
            from spinsim.pages.fidelity_terminal import print_drift

            print_drift(repeat.result, repeat.path)
    elif json:
        said = {"profile": str(done.path), "seconds": done.seconds, "added": done.added}
        print_json(said | {"fits": done.fits})
    elif not quiet:
        from spinsim.pages.fidelity_terminal import print_profile

        print_profile(done)


@exit_codes
def trace(
    scenario: Annotated[
        list[Path],
        typer.Argument(metavar="SCENARIO", help="The scenario's YAML; with --import one or more files."),
    ],
    import_: Annotated[
        str | None,
        typer.Option(
            "--import",
            metavar="FORMAT",
            help="Converts recordings of others: specdecode_bench, spec_bench or vllm_metrics.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            help="With --import: lengths of proposals, as constant:K, stopped:K or heuristic[:START[:MOST]].",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", metavar="FILE", help="With --import spec_bench: its questions."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The trace [traces/NAME.npz].")
    ] = None,
    force: options.ForceFile = False,
    seed: options.Seed = None,
    set_: options.Set = None,
    device: options.DeviceOption = None,
    plugin: options.Plugin = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Record the acceptance of a scenario's real models over its prompts, or import a recording."""
    from spinsim import api

    if import_ is not None:
        _import(import_, scenario, out, force, schedule, prompts, json=json, quiet=quiet)
        return
    for name, given in (("--schedule", schedule), ("--prompts", prompts)):
        if given is not None:
            raise InputError("goes with --import; leave it out", key=name)
    if len(scenario) != 1:
        raise InputError(f"{len(scenario)} files; one scenario, or --import FORMAT", key="SCENARIO")
    with progress_bar(enabled=not quiet) as progress:
        done = api.trace(
            scenario[0],
            out=out,
            force=force,
            set=set_ or (),
            seed=seed,
            device=device,
            plugins=plugin or (),
            progress=progress,
        ).result
    from spinsim.pages.fidelity_terminal import describe_trace, print_trace

    if json:
        print_json(describe_trace(done.trace) | {"trace": str(done.path), "skipped": done.skipped})
    elif not quiet:
        print_trace(done.trace, done.path, done.skipped)


def _import(
    format: str,
    files: list[Path],
    out: Path | None,
    force: bool,
    schedule: str | None,
    prompts: Path | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """What ``trace --import`` does and says."""
    from spinsim.pages.fidelity_terminal import describe_trace, print_trace
    from spinsim.studies.import_trace import import_trace

    done = import_trace(format, files, out, force=force, schedule=schedule, prompts=prompts)
    if json:
        print_json(describe_trace(done.trace) | {"trace": str(done.path), "notes": list(done.notes)})
    elif not quiet:
        print_trace(done.trace, done.path, done.skipped)
        for note in done.notes:
            typer.echo(note)


@exit_codes
def validate(
    scenarios: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SCENARIO...",
            help="Scenarios, sweeps, or some cells of one, as YAML.",
            show_default=False,
        ),
    ] = None,
    out: options.Out = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Live runs of every cell.")] = 3,
    intervals: Annotated[
        int, typer.Option("--intervals", min=0, help="Simulated runs behind each 90 % interval; 0: none.")
    ] = 20,
    grid: options.Grid = None,
    loads: Annotated[
        list[float] | None,
        typer.Option("--load", help="Adds Poisson cells at this share of a closed cell's rate; repeatable."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="Longest live run of a cell; workloads are cut to it.")
    ] = 8.0,
    live_only: Annotated[
        bool, typer.Option("--live-only", help="Leaves the simulated half to --again, here or elsewhere.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Simulates anew beside the live runs in --out, without a scenario."),
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="With --again: costs in place of the scenario's."),
    ] = None,
    roofline: Annotated[
        bool,
        typer.Option("--roofline", help="With --again: costs from hardware sheets, as if without a profile."),
    ] = False,
    workers: options.Workers = None,
    resume: options.Resume = False,
    force: options.Force = False,
    seed: options.Seed = None,
    set_: options.Set = None,
    device: options.DeviceOption = None,
    plugin: options.Plugin = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run scenarios live and simulated, and say how far apart they are."""
    from spinsim import api

    if again and (scenarios or out is None):
        raise InputError("takes no scenario; --out names the folder that has the live runs", key="--again")
    if profile is not None and not again:
        raise InputError("goes with --again; set costs.path for a whole validation", key="--profile")
    if roofline and not again:
        raise InputError("goes with --again; set costs for a whole validation", key="--roofline")
    if not again and not scenarios:
        raise InputError("none; give the YAML of one or several", key="SCENARIO")
    folder = out or Path("results") / f"{scenarios[0].stem if scenarios else ''}-validate"
    with progress_bar(enabled=not quiet) as progress:
        if again:
            done = api.validate_again(
                folder,
                profile=profile,
                roofline=roofline,
                intervals=intervals,
                workers=workers,
                plugins=plugin or (),
                progress=progress,
            ).summary
        else:
            done = api.validate(
                scenarios or (),
                folder,
                grid=grid or (),
                repetitions=repetitions,
                intervals=intervals,
                loads=loads or (),
                seconds=seconds,
                workers=workers,
                live_only=live_only,
                resume=resume,
                force=force,
                set=set_ or (),
                seed=seed,
                device=device,
                plugins=plugin or (),
                progress=progress,
            ).summary
    if live_only and not again:
        if not (json or quiet):
            typer.echo(
                f"live runs in {folder}; spinsim validate --again --out {folder} simulates beside them"
            )
        return
    if json:
        print_json(done)
    elif not quiet:
        from spinsim.pages.fidelity_terminal import print_validation

        print_validation(done, folder)
    if failed := done["failed"]:
        count = len(done["cells"]) + len(failed)
        typer.echo(f"{len(failed)} of {count} cells failed: the figures are those of the others", err=True)
        raise typer.Exit(FAILED)
