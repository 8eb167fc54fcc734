"""How far predictions can be believed: machines measured, acceptance recorded, both worlds compared.

These run real models and need the extra ``live``; torch is imported when they are called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from spinsim.api import options, reports
from spinsim.api.common import at_least, imported, loaded, overrides, paths, several, texts
from spinsim.api.fidelity_results import Profiling, Remeasured, Tracing, Validation
from spinsim.api.options import Argument, Option, PathLike, Paths, Progress, ScenarioLike
from spinsim.errors import InputError

ProfileFile = Annotated[PathLike | None, Option("The profile [profiles/NAME-HARDWARE.json].", metavar="FILE")]
Intervals = Annotated[int, Option("Simulated runs behind each 90 % interval; 0: none.", min=0)]

TraceFile = Annotated[PathLike | None, Option("The trace [traces/NAME.npz].", metavar="FILE")]


def profile(
    scenario: options.Scenario,
    *,
    out: ProfileFile = None,
    quick: Annotated[bool, Option("Fewer points; under a minute on a CPU.")] = False,
    minutes: Annotated[float | None, Option("Bounds the measuring [5; quick: 0.75].", min=0.1)] = None,
    resume: Annotated[bool, Option("Goes on with the file, point by point.")] = False,
    force: options.ForceFile = False,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    plugins: options.Plugins = (),
    progress: Progress | None = None,
) -> Profiling:
    """Measure this machine for a scenario's models.

    The profile goes into the file ``out`` (profiles/NAME-HARDWARE.json). ``minutes`` bound the measuring: 5,
    or 0.75 where ``quick``. ``resume`` goes on with the file point by point, ``force`` begins anew over it.
    Raises InputError.
    """
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"{minutes} is not allowed; above 0", key="--minutes")
    if resume and force:
        raise InputError("cannot go with --force; one of the two", key="--resume")
    given = loaded(scenario, set, seed, device, plugins)
    from spinsim.studies import profile as experiment

    path = _file(out, experiment.default_path(given.scenario))
    try:
        done = experiment.profile(
            given,
            path,
            quick=quick,
            resume=resume,
            force=force,
            budget_s=None if minutes is None else 60 * minutes,
            progress=progress,
        )
    except InputError as error:
        raise given.places.locate(error) from None
    return Profiling(done)


def profile_again(
    scenario: options.Scenario,
    *,
    out: ProfileFile = None,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    plugins: options.Plugins = (),
    progress: Progress | None = None,
) -> Remeasured:
    """Measure some points of the profile ``out`` once more and note in it how they differ, for intervals.

    Worth it in other processes and on other days. Raises InputError.
    """
    given = loaded(scenario, set, seed, device, plugins)
    from spinsim.studies import profile as experiment

    path = _file(out, experiment.default_path(given.scenario))
    try:
        return Remeasured(experiment.again(given, path, progress), path)
    except InputError as error:
        raise given.places.locate(error) from None


def trace(
    scenario: Annotated[
        ScenarioLike, Argument("The scenario's YAML; with --import one or more files.", metavar="SCENARIO")
    ],
    *,
    out: TraceFile = None,
    force: options.ForceFile = False,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    plugins: options.Plugins = (),
    progress: Progress | None = None,
) -> Tracing:
    """Record the acceptance of a scenario's real models over its prompts.

    The trace goes into the file ``out`` (traces/NAME.npz); ``force`` overwrites one. :func:`import_trace`
    makes one of others' recordings. Raises InputError.
    """
    given = loaded(scenario, set, seed, device, plugins)
    path = _file(out, Path("traces") / f"{given.scenario.name}.npz")
    from spinsim.studies.trace import trace as experiment

    try:
        return Tracing(experiment(given, path, force=force, progress=progress))
    except InputError as error:
        raise given.places.locate(error) from None


def import_trace(
    format: Annotated[
        str,
        Option(
            "Converts recordings of others: specdecode_bench, spec_bench, vllm_metrics, or your own rounds.",
            flag="--import",
            metavar="FORMAT",
        ),
    ],
    files: Annotated[Paths, Argument("Files of the format.", metavar="SCENARIO")],
    *,
    out: TraceFile = None,
    force: options.ForceFile = False,
    schedule: Annotated[
        str | None,
        Option("With --import: lengths of proposals, as constant:K, stopped:K or heuristic[:START[:MOST]]."),
    ] = None,
    prompts: Annotated[
        PathLike | None, Option("With --import spec_bench: its questions.", metavar="FILE")
    ] = None,
) -> Tracing:
    """Turn acceptance that others recorded into a trace.

    Several files mix, each a domain of its name. ``format``: specdecode_bench, spec_bench (needs
    ``schedule``: constant:K, stopped:K or heuristic[:START[:MOST]]; ``prompts`` names its questions),
    vllm_metrics, or rounds (your own, as CSV or JSON Lines). ``result.notes`` say what could not be
    rebuilt. Needs no model. Raises InputError.
    """
    from spinsim.studies.import_trace import import_trace as experiment

    result = experiment(
        format,
        paths(files),
        None if out is None else Path(out),
        force=force,
        schedule=schedule,
        prompts=None if prompts is None else Path(prompts),
    )
    return Tracing(result)


def validate(
    scenarios: Annotated[
        Paths, Argument("Scenarios, sweeps, or some cells of one, as YAML.", metavar="SCENARIO...")
    ],
    out: options.OutNeeded,
    *,
    grid: options.Grid = (),
    repetitions: Annotated[int, Option("Live runs of every cell.", min=1)] = 3,
    intervals: Intervals = 20,
    loads: Annotated[
        Sequence[float],
        Option("Adds Poisson cells at this share of a closed cell's rate; repeatable.", flag="--load"),
    ] = (),
    seconds: Annotated[float, Option("Longest live run of a cell; workloads are cut to it.", min=0.5)] = 8.0,
    workers: options.Workers = None,
    live_only: Annotated[bool, Option("Leaves the simulated half to --again, here or elsewhere.")] = False,
    resume: options.Resume = False,
    force: options.Force = False,
    set: options.Set = (),
    seed: options.Seed = None,
    device: options.Device = None,
    plugins: options.Plugins = (),
    progress: Progress | None = None,
) -> Validation:
    """Run scenarios live and simulated, and say how far apart they are.

    ``scenarios`` may be sweeps, too. Every cell runs live ``repetitions`` times, for at most ``seconds``
    each; then the cells are simulated by ``workers`` processes (one a core; 0: this process), with
    ``intervals`` runs behind each 90 % interval. ``loads`` add Poisson cells at these shares of a closed
    cell's request rate. ``grid`` as of ``sweep``. Finished cells are in the folder ``out``. ``live_only``
    leaves the simulated half to :func:`validate_again`: the answer has no cells yet. Raises InputError.
    """
    at_least(1, repetitions=repetitions)
    several(intervals=intervals)
    at_least(0, workers=workers)
    for load in loads:
        if not 0 < load < math.inf:
            raise InputError(f"{load} is not allowed; above 0, such as 0.8", key="--load")
    if not 0 < seconds < math.inf:
        raise InputError(f"{seconds} is not allowed; above 0", key="--seconds")
    if resume and force:
        raise InputError("cannot go with --force; one of the two", key="--resume")
    if not (files := paths(scenarios)):
        raise InputError("none; give the YAML of one or several", key="SCENARIO")
    from spinsim.files import check_writable
    from spinsim.studies.validation.plan import plan

    loaded_plugins = imported(plugins)
    if isinstance(grid, Mapping):
        grid = [_axis_text(key, values) for key, values in grid.items()]
    seeds = [] if seed is None else [f"seed={seed}"]
    cells = plan(files, texts(grid or ()), [*overrides(set), *seeds], device)
    check_writable(Path(out))
    from spinsim.studies.validation import validate as experiment

    asked = experiment.Options(
        repetitions=repetitions,
        intervals=intervals,
        seconds=seconds,
        loads=tuple(loads),
        workers=workers,
        plugins=loaded_plugins,
    )
    half = experiment.live_half if live_only else partial(experiment.validate, report=reports.of_validation)
    try:
        done = half(cells, Path(out), asked, resume=resume, force=force, progress=progress)
    except InputError as error:
        raise cells[0].loaded.places.locate(error) from None
    return Validation(done or {"cells": []})


def validate_again(
    out: options.OutNeeded,
    *,
    profile: Annotated[
        PathLike | None, Option("With --again: costs in place of the scenario's.", metavar="FILE")
    ] = None,
    roofline: Annotated[
        bool, Option("With --again: costs from hardware sheets, as if without a profile.")
    ] = False,
    allow_roofline: Annotated[
        bool, Option("With --again: beyond --profile, hardware sheets answer; intervals are wider there.")
    ] = False,
    intervals: Intervals = 20,
    workers: options.Workers = None,
    plugins: options.Plugins = (),
    progress: Progress | None = None,
) -> Validation:
    """The simulated half of the validation in ``out`` once more, on any machine: no model runs.

    ``profile`` replaces the one that it was planned with; ``roofline``: hardware sheets do.
    ``allow_roofline``: they answer beyond ``profile``. Raises InputError where ``out`` holds no live runs,
    and where options contradict each other.
    """
    if roofline and profile is not None:
        raise InputError("not with --profile: one or the other", key="--roofline")
    if allow_roofline and profile is None:
        raise InputError("is of --profile; give one, or leave it out", key="--allow-roofline")
    several(intervals=intervals)
    from spinsim.studies.validation.validate import again

    return Validation(
        again(
            Path(out),
            profile=None if profile is None else Path(profile),
            roofline=roofline,
            allow_roofline=allow_roofline,
            intervals=intervals,
            workers=workers,
            plugins=imported(plugins),
            progress=progress,
            report=reports.of_validation,
        )
    )


def _axis_text(key: str, values: Sequence[Any]) -> str:
    """``key=v1,v2`` of a list of values. Raises InputError for what is none."""
    from spinsim.scenario_file.variants import axis_of

    axis = axis_of(key, list(values) if isinstance(values, range | tuple) else values)
    return f"{key}={','.join(text.partition('=')[2] for texts in axis.overrides for text in texts)}"


def _file(out: PathLike | None, default: Path) -> Path:
    """Where a file goes. Raises InputError for a folder, or where nothing can be written."""
    from spinsim.files import check_file

    path = default if out is None else Path(out)
    check_file(path)
    return path
