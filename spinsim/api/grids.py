"""Many simulations with a plan: grids, and alternatives compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from spinsim.api import options, reports
from spinsim.api.common import Where, imported, lab, overrides, paths, texts, whole
from spinsim.api.frames import frame, records_frame
from spinsim.api.options import Argument, Option, PathLike, Paths, Texts

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.studies import compare as _compare
    from spinsim.studies import sweep as _sweep


@dataclass(frozen=True, repr=False)
class Sweep:
    """``result`` holds what was planned and every row; ``summary`` is summary.json."""

    result: _sweep.Sweep
    summary: dict[str, Any]

    def __repr__(self) -> str:
        cells, failed = self.summary["cells"], len(self.summary["failed"])
        said = f"{cells} cells over {', '.join(self.result.axes)}" + (f", {failed} failed" if failed else "")
        return f"Sweep({self.result.scenario}: {said})"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown
        from spinsim.pages.study_parts import grouped, mean_shown

        axes, metrics = self.result.axes, self.result.metrics[:4]
        groups = grouped([row for row in self.result.rows if row.summary is not None], axes)
        rows = [[*key, *(mean_shown(metric, rows) for metric in metrics)] for key, rows in groups.items()]
        return shown(repr(self), [*axes, *(metric.title for metric in metrics)], rows)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a cell: its place in the grid, and every number of its summary by dotted path."""
        return records_frame(self.result.rows)


@dataclass(frozen=True, repr=False)
class Comparison:
    """``result.effects[name]`` are typed: means, paired differences, intervals, verdicts."""

    result: _compare.Comparison
    summary: dict[str, Any]

    def __repr__(self) -> str:
        first = {name: effects[0] for name, effects in self.result.effects.items()}
        verdicts = (f"{name} {effect.verdict}" for name, effect in first.items() if effect.verdict)
        said = f"{self.result.metrics[0].path} against {self.result.baseline}: {', '.join(verdicts)}"
        return f"Comparison({said}; {len(self.result.seeds)} seeds)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown as table
        from spinsim.pages.study_parts import changed, changed_spread, shown

        rows = [
            [
                effect.metric.title,
                name,
                shown(effect.metric, effect.mean.estimate),
                changed(effect),
                changed_spread(effect),
                "baseline" if name == self.result.baseline else effect.verdict or "",
            ]
            for effects in zip(*self.result.effects.values(), strict=True)
            for name, effect in zip(self.result.effects, effects, strict=True)
        ]
        header = ["", "alternative", "mean", "difference", "95 % interval", "verdict"]
        return table(repr(self), header, rows, self.result.notes)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each metric and alternative; ``relative`` is mean / baseline's mean - 1."""
        rows = []
        for name, effects in self.result.effects.items():
            for effect in effects:
                relative = effect.relative
                rows.append(
                    {
                        "metric": effect.metric.path,
                        "alternative": name,
                        "mean": effect.mean.estimate,
                        "difference": None if effect.difference is None else effect.difference.estimate,
                        "relative": None if relative is None else relative.estimate,
                        "relative_low": None if relative is None else relative.low,
                        "relative_high": None if relative is None else relative.high,
                        "verdict": "baseline" if name == self.result.baseline else effect.verdict,
                    }
                )
        return frame(rows)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each alternative and seed."""
        return records_frame(self.result.rows)


def sweep(
    scenario: Annotated[PathLike, Argument("A scenario's YAML, or a sweep's.", metavar="SCENARIO")],
    grid: options.Grid = None,
    *,
    set: options.Set = (),
    seeds: Annotated[int | None, Option("Repetitions of each combination [1].", min=1)] = None,
    seed: options.FirstSeed = None,
    metrics: options.Metrics = (),
    plugins: options.Plugins = (),
    engine: options.Engine = "auto",
    **where: Unpack[Where],
) -> Sweep:
    """Simulate every combination of a grid, a row of one table each.

    Each is simulated ``seeds`` times, from ``seed`` (the scenario's) on. ``grid``: values by key, or by any
    name {label: {key: value}}; or ``key=v1,v2`` texts as ``--grid`` takes them. ``scenario`` may be a
    sweep's YAML. ``engine``: see :func:`spinsim.api.simulate`; ``where``: :class:`spinsim.api.Where`. Raises
    InputError before anything runs, and CellsFailed for failed cells, which are rows without numbers.
    """
    loaded_plugins = imported(plugins)
    from spinsim.scenario_file.variants import axis, axis_of
    from spinsim.studies import sweep as _sweep
    from spinsim.studies.outcome import finish_sweep

    plan = _sweep.read_sweep(Path(scenario)) or _sweep.SweepPlan(Path(scenario), ())
    if isinstance(grid, Mapping):
        axes = [axis_of(name, values) for name, values in grid.items()]
    else:
        axes = [axis(text) for text in texts(grid or ())]
    plan = replace(
        plan,
        axes=(*plan.axes, *axes),
        overrides=(*plan.overrides, *overrides(set)),
        seeds=plan.seeds if seeds is None else seeds,
        seed=plan.seed if seed is None else seed,
        metrics=texts(metrics) or plan.metrics,
        plugins=loaded_plugins,
    )
    with lab("sweep", engine=engine, **where) as place:
        result = _sweep.sweep(plan, place)
    summary = finish_sweep(place.store, result, reports.of_sweep)
    return whole(Sweep(result, summary), summary)


def compare(
    scenarios: Annotated[Paths, Argument("One YAML, or several.", metavar="SCENARIO...")],
    policies: Annotated[
        Mapping[str, Mapping[str, Any]] | Texts | None,
        Option(
            "An alternative of the one scenario; several kinds joined by /; repeatable.",
            flag="--policy",
            metavar="[LABEL:]KIND=NAME,PARAMETER=VALUE",
        ),
    ] = None,
    *,
    set: options.Set = (),
    seeds: Annotated[int, Option("Simulations of each alternative.", min=1)] = 10,
    seed: options.FirstSeed = None,
    metrics: options.Metrics = (),
    baseline: Annotated[str | None, Option("The alternative to compare with [the first].")] = None,
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Comparison:
    """Compare scenarios or policies over seeds, with intervals.

    Several scenarios, or one as it stands with ``policies``, meet the same ``seeds``. ``policies``: {name:
    {kind: {"name": ..., parameter: ...}}}, or texts as ``--policy`` takes them. ``baseline``: the
    alternative that others are compared with, the first by default. ``where``: see
    :class:`spinsim.api.Where`. Raises InputError before anything runs.
    """
    loaded_plugins = imported(plugins)
    from spinsim.scenario_file.variants import override
    from spinsim.studies import compare as _compare
    from spinsim.studies.outcome import finish_comparison

    common = overrides(set)
    if isinstance(policies, Mapping):
        chosen = {
            name: [override(f"policies.{kind}", choice) for kind, choice in choices.items()]
            for name, choices in policies.items()
        }
        given = _compare.with_policies(paths(scenarios), chosen, common)
    else:
        given = _compare.alternatives(paths(scenarios), texts(policies or ()), common)
    with lab("comparison", **where) as place:
        result = _compare.compare(
            given,
            place,
            seeds=seeds,
            seed=seed,
            metrics=texts(metrics),
            baseline=baseline,
            plugins=loaded_plugins,
        )
    summary = finish_comparison(place.store, result, reports.of_comparison)
    return whole(Comparison(result, summary), summary)
