"""The commands that run many simulations. Thin: heavy imports are inside, so that ``--help`` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinsim.cli import options
from spinsim.cli.support import despite_failures, exit_codes, experimenting, show_experiment


@exit_codes
def compare(
    scenarios: Annotated[list[Path], typer.Argument(metavar="SCENARIO...", help="One YAML, or several.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="[LABEL:]KIND=NAME,PARAMETER=VALUE",
            help="An alternative of the one scenario; several kinds joined by /; repeatable.",
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The alternative to compare with [the first].")] = None,
    metric: options.Metric = None,
    seeds: Annotated[int, typer.Option(min=1, help="Simulations of each alternative.")] = 10,
    seed: options.FirstSeed = None,
    set_: options.Set = None,
    plugin: options.Plugin = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resume: options.Resume = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare scenarios or policies over seeds, with intervals."""
    from spinsim import api
    from spinsim.pages.study_terminal import print_comparison

    folder = out or Path("results") / f"{scenarios[0].stem}-comparison"
    with experimenting(folder, quiet=quiet) as progress:
        done = despite_failures(
            api.compare,
            scenarios,
            policy,
            set=set_ or (),
            seeds=seeds,
            seed=seed,
            metrics=metric or (),
            baseline=baseline,
            plugins=plugin or (),
            workers=workers,
            cluster=cluster,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
    show_experiment(folder, done.summary, print_comparison, done.result, as_json=json, quiet=quiet)


@exit_codes
def sweep(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario's YAML, or a sweep's.")],
    grid: options.Grid = None,
    metric: options.Metric = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions of each combination [1].", show_default=False)
    ] = None,
    seed: options.FirstSeed = None,
    set_: options.Set = None,
    plugin: options.Plugin = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resume: options.Resume = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Simulate every combination of a grid, a row of one table each."""
    from spinsim import api
    from spinsim.pages.study_terminal import print_sweep

    folder = out or Path("results") / f"{scenario.stem}-sweep"
    with experimenting(folder, quiet=quiet) as progress:
        done = despite_failures(
            api.sweep,
            scenario,
            grid,
            set=set_ or (),
            seeds=seeds,
            seed=seed,
            metrics=metric or (),
            plugins=plugin or (),
            workers=workers,
            cluster=cluster,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
    show_experiment(folder, done.summary, print_sweep, done.result, as_json=json, quiet=quiet)


@exit_codes
def capacity(
    scenario: options.Scenario,
    slo: Annotated[
        str | None,
        typer.Option(metavar="ttft_s=S,tpot_s=S", help="Objectives in seconds [the scenario's slo]."),
    ] = None,
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet them.")] = 0.9,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Seconds of traffic at each rate [60, or the scenario's; a replay: its trace's].",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Relative width at which the search stops.")] = 0.05,
    seeds: Annotated[int, typer.Option(min=2, help="Simulations of a rate; four times as many at most.")] = 4,
    seed: options.FirstSeed = None,
    set_: options.Set = None,
    plugin: options.Plugin = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resume: options.Resume = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find the highest arrival rate within the objectives."""
    from spinsim import api
    from spinsim.pages.study_terminal import print_capacity

    folder = out or Path("results") / f"{scenario.stem}-capacity"
    with experimenting(folder, quiet=quiet) as progress:
        done = despite_failures(
            api.capacity,
            scenario,
            slo=slo,
            attainment=attainment,
            duration_s=duration,
            tolerance=tolerance,
            seeds=seeds,
            seed=seed,
            set=set_ or (),
            plugins=plugin or (),
            workers=workers,
            cluster=cluster,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
    show_experiment(folder, done.summary, print_capacity, done.result, as_json=json, quiet=quiet)


@exit_codes
def tune(
    scenario: options.Scenario,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="NAME",
            help="goodput [default], p99_tpot, slo_goodput, ...; several make a Pareto front.",
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="NAME>=NUMBER", help="A bound, such as attainment>=0.9; repeatable."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,KIND",
            help="Tunes these alone: selector, length, packing, pipeline, composition, admission, limits.",
        ),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            "--choose", metavar="KIND=NAME,NAME", help="Lets the search choose among policies; repeatable."
        ),
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option(
            "--range", metavar="KEY.PATH=LOW:HIGH[:log]", help="Varies a number of the scenario; repeatable."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Points to try.")] = 60,
    batch: Annotated[
        int, typer.Option(min=1, help="Trials proposed at once; changes results, unlike --workers.")
    ] = 6,
    short: Annotated[
        float, typer.Option(help="Share of the requests in a trial's first, short simulation.")
    ] = 0.25,
    seeds: Annotated[int, typer.Option(min=1, help="Full simulations of a trial.")] = 3,
    confirm: Annotated[int, typer.Option(min=0, help="Further simulations of the few best trials.")] = 6,
    fresh: Annotated[int, typer.Option(min=1, help="Other seeds, to measure the gain.")] = 12,
    holdout: Annotated[float, typer.Option(help="Share of a recorded workload kept for the gain.")] = 0.5,
    holdout_set: Annotated[
        list[str] | None,
        typer.Option(
            "--holdout-set",
            metavar="KEY.PATH=VALUE",
            help="What the gain's workload has otherwise; repeatable.",
        ),
    ] = None,
    seed: options.FirstSeed = None,
    set_: options.Set = None,
    plugin: options.Plugin = None,
    out: options.Out = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resume: options.Resume = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Search policy parameters; the best is written as a scenario."""
    from spinsim import api
    from spinsim.pages.study_terminal import print_tuning

    folder = out or Path("results") / f"{scenario.stem}-tuning"
    with experimenting(folder, quiet=quiet) as progress:
        done = despite_failures(
            api.tune,
            scenario,
            objectives=objective or "goodput",
            require=require or (),
            only=[kind.strip() for kind in only.split(",")] if only else (),
            choose=choose or (),
            ranges=range_ or (),
            trials=trials,
            batch=batch,
            short=short,
            seeds=seeds,
            confirm=confirm,
            fresh=fresh,
            holdout=holdout,
            holdout_set=holdout_set or (),
            seed=seed,
            set=set_ or (),
            plugins=plugin or (),
            workers=workers,
            cluster=cluster,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
    show_experiment(folder, done.summary, print_tuning, done.result, as_json=json, quiet=quiet)
