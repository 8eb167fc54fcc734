"""The commands that run many simulations. Thin: heavy imports are inside, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spinsim.cli_support import FAILED, INTERRUPTED, exit_codes, print_json, progress_bar
from spinsim.errors import InputError

if TYPE_CHECKING:
    from spinsim.experiments.evaluate import Lab

ScenarioArgument = Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario's YAML.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Overrides a key of the scenario; repeatable."),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, help="The first seed [the scenario's].", show_default=False)
]
MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="NAME", help="goodput, p99_tpot, ..., or a path of summary.json; repeatable."
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Results folder.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes [one a core]; 0 runs in this one.", show_default=False),
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="auto|HOST:PORT", help="Runs on a Ray cluster instead."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Goes on with the folder's experiment.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replaces the folder's experiment.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers policies; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints the summary as JSON, and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Prints errors only.")]


@contextmanager
def _lab(
    out: Path,
    kind: str,
    *,
    resume: bool,
    force: bool,
    workers: int | None,
    cluster: str | None,
    quiet: bool,
) -> Iterator[Lab]:
    """Workers and a folder; an interruption keeps what is there and says how to go on."""
    from spinsim.experiments.evaluate import Lab
    from spinsim.experiments.pool import open_pool
    from spinsim.experiments.store import open_store

    store = open_store(out, kind, resume=resume, force=force)
    try:
        with open_pool(workers, cluster) as pool, progress_bar(enabled=not quiet) as progress:
            yield Lab(pool, store, progress)
    except InputError as error:  # known after the first cells only, such as a metric that none has
        if any((out / "cells").glob("*.json")):
            error.message += f"; finished cells are in {out}, --resume goes on with them"
        raise
    except KeyboardInterrupt:
        kept = any((out / "cells").glob("*.json"))
        where = f"; finished cells are in {out}, --resume goes on with them" if kept else ""
        typer.echo(f"interrupted{where}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _finish(
    out: Path, summary: dict[str, Any], print_it: Any, result: Any, *, as_json: bool, quiet: bool
) -> None:
    """Show a result; exit code 1 where cells failed."""
    if as_json:
        print_json(summary)
    elif not quiet:
        from rich.console import Console

        console = Console()
        print_it(result, console)
        console.print(f"\nresults in {out}", highlight=False, soft_wrap=True)
    if failed := summary["failed"]:
        typer.echo(
            f"{len(failed)} of {summary['cells']} cells failed, the first: {failed[0]['error']}", err=True
        )
        raise typer.Exit(FAILED)


def _plugins(paths: list[Path] | None) -> tuple[str, ...]:
    from spinsim.plugins import load_plugins

    return load_plugins(paths or [])


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
    metric: MetricOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Simulations of each alternative.")] = 10,
    seed: SeedOption = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare scenarios or policies over seeds, with intervals."""
    plugins = _plugins(plugin)
    from spinsim.experiments.compare import alternatives
    from spinsim.experiments.compare import compare as experiment
    from spinsim.experiments.finish import finish_comparison
    from spinsim.reporting.experiment_terminal import print_comparison

    given = alternatives(scenarios, policy or [], set_ or [])
    folder = out or Path("results") / f"{scenarios[0].stem}-comparison"
    with _lab(
        folder, "comparison", resume=resume, force=force, workers=workers, cluster=cluster, quiet=quiet
    ) as lab:
        result = experiment(
            given, lab, seeds=seeds, seed=seed, metrics=metric or [], baseline=baseline, plugins=plugins
        )
    summary = finish_comparison(lab.store, result)
    _finish(folder, summary, print_comparison, result, as_json=json, quiet=quiet)


@exit_codes
def sweep(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario's YAML, or a sweep's.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", metavar="KEY.PATH=V1,V2,...", help="Varies a key of the scenario; repeatable."
        ),
    ] = None,
    metric: MetricOption = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repetitions of each combination [1].", show_default=False)
    ] = None,
    seed: SeedOption = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Simulate every combination of a grid, a row of one table each."""
    plugins = _plugins(plugin)
    from dataclasses import replace

    from spinsim.experiments.finish import finish_sweep
    from spinsim.experiments.sweep import SweepPlan, read_sweep
    from spinsim.experiments.sweep import sweep as experiment
    from spinsim.experiments.variants import axis
    from spinsim.reporting.experiment_terminal import print_sweep

    plan = read_sweep(scenario) or SweepPlan(scenario, ())
    plan = replace(
        plan,
        axes=(*plan.axes, *map(axis, grid or [])),
        overrides=(*plan.overrides, *(set_ or [])),
        seeds=plan.seeds if seeds is None else seeds,
        seed=plan.seed if seed is None else seed,
        metrics=tuple(metric or plan.metrics),
        plugins=plugins,
    )
    folder = out or Path("results") / f"{scenario.stem}-sweep"
    with _lab(
        folder, "sweep", resume=resume, force=force, workers=workers, cluster=cluster, quiet=quiet
    ) as lab:
        result = experiment(plan, lab)
    summary = finish_sweep(lab.store, result)
    _finish(folder, summary, print_sweep, result, as_json=json, quiet=quiet)


@exit_codes
def capacity(
    scenario: ScenarioArgument,
    slo: Annotated[
        str | None,
        typer.Option(metavar="ttft_s=S,tpot_s=S", help="Objectives in seconds [the scenario's slo]."),
    ] = None,
    attainment: Annotated[float, typer.Option(help="Share of requests that must meet them.")] = 0.9,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds of traffic at each rate [60, or the scenario's].", show_default=False),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Relative width at which the search stops.")] = 0.05,
    seeds: Annotated[int, typer.Option(min=2, help="Simulations of a rate; four times as many at most.")] = 4,
    seed: SeedOption = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the highest arrival rate within the objectives."""
    plugins = _plugins(plugin)
    from spinsim.experiments.capacity import CapacityPlan, parse_slo
    from spinsim.experiments.capacity import capacity as experiment
    from spinsim.experiments.finish import finish_capacity
    from spinsim.reporting.experiment_terminal import print_capacity

    overrides = (*(set_ or []), *(parse_slo(slo) if slo else []))
    plan = CapacityPlan(scenario, attainment, overrides, duration, tolerance, seeds, seed, plugins)
    folder = out or Path("results") / f"{scenario.stem}-capacity"
    with _lab(
        folder, "capacity", resume=resume, force=force, workers=workers, cluster=cluster, quiet=quiet
    ) as lab:
        result = experiment(plan, lab)
    summary = finish_capacity(lab.store, result)
    _finish(folder, summary, print_capacity, result, as_json=json, quiet=quiet)


@exit_codes
def tune(
    scenario: ScenarioArgument,
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
    seed: SeedOption = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search policy parameters; the best is written as a scenario."""
    plugins = _plugins(plugin)
    from spinsim.experiments.finish import finish_tuning
    from spinsim.experiments.trials import TunePlan
    from spinsim.experiments.tune import tune as experiment
    from spinsim.reporting.experiment_terminal import print_tuning

    plan = TunePlan(
        scenario,
        objectives=tuple(objective or ["goodput"]),
        require=tuple(require or ()),
        only=tuple(kind.strip() for kind in only.split(",")) if only else (),
        choose=tuple(choose or ()),
        ranges=tuple(range_ or ()),
        overrides=tuple(set_ or ()),
        holdout_overrides=tuple(holdout_set or ()),
        trials=trials,
        batch=batch,
        short=short,
        seeds=seeds,
        confirm=confirm,
        fresh=fresh,
        holdout=holdout,
        seed=seed,
        plugins=plugins,
    )
    folder = out or Path("results") / f"{scenario.stem}-tuning"
    with _lab(
        folder, "tuning", resume=resume, force=force, workers=workers, cluster=cluster, quiet=quiet
    ) as lab:
        result = experiment(plan, lab)
    summary = finish_tuning(lab.store, result)
    _finish(folder, summary, print_tuning, result, as_json=json, quiet=quiet)


def mount(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (compare, sweep, capacity, tune):
        app.command()(command)
