"""Searches: the highest rate within an SLO, and the best parameters of policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from spinsim.api import options, reports
from spinsim.api.common import Where, at_least, imported, lab, overrides, texts, whole
from spinsim.api.frames import frame, records_frame
from spinsim.api.options import Option, PathLike, Settings, Texts
from spinsim.errors import InputError
from spinsim.files import check_file

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.studies import capacity as _capacity
    from spinsim.studies.tuning import tune as _tune


@dataclass(frozen=True, repr=False)
class Capacity:
    """``result.rate`` is an interval, or None where the search found no rate that holds."""

    result: _capacity.Capacity
    summary: dict[str, Any]

    def __repr__(self) -> str:
        rate = "; ".join(self.result.notes) if self.requests_per_s is None else f"{self.requests_per_s:.4g}/s"
        return f"Capacity({self.result.scenario}: {rate})"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown
        from spinsim.pages.run_terminal import number, percent
        from spinsim.pages.search import rate_text

        rows = [[number(p.rate, 4), percent(p.mean), len(p.attainments)] for p in self.result.curve]
        title = f"{self.result.scenario}: {rate_text(self.result.rate)}"
        return shown(title, ["requests/s", "attainment", "seeds"], rows, self.result.notes)

    @property
    def requests_per_s(self) -> float | None:
        """The capacity."""
        return None if self.result.rate is None else self.result.rate.estimate

    @cached_property
    def curve(self) -> pd.DataFrame:
        """A row for each rate (requests/s) and seed that was simulated."""
        return frame(
            [
                {"rate": point.rate, "attainment": share, "fitted": point.fitted}
                for point in self.result.curve
                for share in point.attainments
            ]
        )

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each rate and seed, with every number of its summary."""
        return records_frame(self.result.rows)


@dataclass(frozen=True, repr=False)
class Tuning:
    """``result.winners`` are the chosen trials, with their gain on what tuning did not see."""

    result: _tune.Tuning
    summary: dict[str, Any]

    def __repr__(self) -> str:
        winners = (f"{w.name} {w.gain[0].verdict or 'undecided'}" for w in self.result.winners)
        said = ", ".join(winners) or "nothing chosen"
        return f"Tuning({self.result.scenario}: {len(self.result.trials)} trials; {said})"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown as table
        from spinsim.pages.study_parts import changed, changed_spread, shown

        rows = [
            [
                winner.name,
                effect.metric.title,
                shown(effect.metric, effect.mean.estimate),
                changed(effect),
                changed_spread(effect),
                effect.verdict or "",
            ]
            for winner in self.result.winners
            for effect in winner.gain
        ]
        header = ["winner", "", "mean", "gain", "95 % interval", "verdict"]
        return table(repr(self), header, rows, self.result.notes)

    @property
    def best(self) -> _tune.Winner:
        """The winner; the first member of a Pareto front. Raises RuntimeError where none was chosen."""
        if not self.result.winners:
            raise RuntimeError(f"nothing was chosen: {'; '.join(self.result.notes)}")
        return self.result.winners[0]

    def write(self, path: PathLike, winner: int = 0) -> Path:
        """Write a winner as a scenario that simulate and run take. Raises InputError where there is none."""
        if not 0 <= winner < len(self.result.winners):
            raise InputError(f"no winner {winner}; there are {len(self.result.winners)}", key="winner")
        path = Path(path)
        check_file(path, "path")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.result.winners[winner].yaml, encoding="utf-8")
        return path

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial: its parameters, state and objectives."""
        return frame(
            [
                {
                    "trial": trial.number,
                    "state": trial.state,
                    **trial.parameters,
                    **dict(zip((m.path for m in self.result.objectives), trial.values or (), strict=False)),
                }
                for trial in self.result.trials
            ]
        )

    @cached_property
    def gains(self) -> pd.DataFrame:
        """A row for each winner and objective: mean, relative gain over the scenario as written, interval."""
        rows = []
        for winner in self.result.winners:
            for effect in winner.gain:
                gain = effect.relative
                rows.append(
                    {
                        "winner": winner.name,
                        "metric": effect.metric.path,
                        "mean": effect.mean.estimate,
                        "gain": None if gain is None else gain.estimate,
                        "gain_low": None if gain is None else gain.low,
                        "gain_high": None if gain is None else gain.high,
                        "verdict": effect.verdict,
                    }
                )
        return frame(rows)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each simulation of a trial, with every number of its summary."""
        return records_frame(self.result.rows)


def capacity(
    scenario: options.ScenarioFile,
    *,
    slo: Annotated[
        Mapping[str, float] | str | None,
        Option("Objectives in seconds [the scenario's slo].", metavar="ttft_s=S,tpot_s=S"),
    ] = None,
    attainment: Annotated[float, Option("Share of requests that must meet them.")] = 0.9,
    duration_s: Annotated[
        float | None,
        Option(
            "Seconds of traffic at each rate [60, or the scenario's; a replay: its trace's].",
            flag="--duration",
        ),
    ] = None,
    tolerance: Annotated[float, Option("Relative width at which the search stops.")] = 0.05,
    seeds: Annotated[int, Option("Simulations of a rate; four times as many at most.", min=2)] = 4,
    seed: options.FirstSeed = None,
    set: options.Set = (),
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Capacity:
    """Find the highest arrival rate within the objectives.

    At that rate a share of ``attainment`` of the requests meets ``slo``. ``slo``: {"ttft_s": ..., "tpot_s":
    ...} in seconds, or a text as ``--slo`` takes it; the scenario's by default. ``duration_s`` of traffic at
    each rate; the search stops at a relative width of ``tolerance``. ``where``: see
    :class:`spinsim.api.Where`. Raises InputError, also for a scenario without a rate.
    """
    loaded_plugins = imported(plugins)
    from spinsim.scenario_file.variants import override
    from spinsim.studies import capacity as _capacity
    from spinsim.studies.outcome import finish_capacity

    if isinstance(slo, str):
        objectives = tuple(_capacity.parse_slo(slo))
    else:
        objectives = tuple(override(f"slo.{name}", limit) for name, limit in (slo or {}).items())
    given = (*overrides(set), *objectives)
    plan = _capacity.CapacityPlan(
        Path(scenario), attainment, given, duration_s, tolerance, seeds, seed, loaded_plugins
    )
    with lab("capacity", **where) as place:
        result = _capacity.capacity(plan, place)
    summary = finish_capacity(place.store, result, reports.of_capacity)
    return whole(Capacity(result, summary), summary)


def tune(
    scenario: options.ScenarioFile,
    *,
    objectives: Annotated[
        Texts,
        Option(
            "goodput [default], p99_tpot, slo_goodput, ...; several make a Pareto front.",
            flag="--objective",
            metavar="NAME",
        ),
    ] = "goodput",
    require: Annotated[
        Texts, Option("A bound, such as attainment>=0.9; repeatable.", metavar="NAME>=NUMBER")
    ] = (),
    only: Annotated[
        Texts,
        Option(
            "Tunes these alone: selector, length, packing, pipeline, composition, admission, limits.",
            metavar="KIND,KIND",
            once=True,
        ),
    ] = (),
    choose: Annotated[
        Mapping[str, Texts] | Texts,
        Option("Lets the search choose among policies; repeatable.", metavar="KIND=NAME,NAME"),
    ] = (),
    ranges: Annotated[
        Texts,
        Option(
            "Varies a number of the scenario; repeatable.",
            flag="--range",
            metavar="KEY.PATH=LOW:HIGH[:log]",
        ),
    ] = (),
    trials: Annotated[int, Option("Points to try.", min=1)] = 60,
    batch: Annotated[int, Option("Trials proposed at once; changes results, unlike --workers.", min=1)] = 6,
    short: Annotated[float, Option("Share of the requests in a trial's first, short simulation.")] = 0.25,
    seeds: Annotated[int, Option("Full simulations of a trial.", min=1)] = 3,
    confirm: Annotated[int, Option("Further simulations of the few best trials.", min=0)] = 6,
    fresh: Annotated[int, Option("Other seeds, to measure the gain.", min=1)] = 12,
    holdout: Annotated[float, Option("Share of a recorded workload kept for the gain.")] = 0.5,
    holdout_set: Annotated[
        Settings,
        Option("What the gain's workload has otherwise; repeatable.", metavar="KEY.PATH=VALUE"),
    ] = (),
    engine: Annotated[
        str | None,
        Option(
            "Searches only what can be exported for an engine.",
            flag="--for",
            choices=("vllm", "sglang", "tensorrt-llm"),
        ),
    ] = None,
    seed: options.FirstSeed = None,
    set: options.Set = (),
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Tuning:
    """Search policy parameters; the best is written as a scenario.

    Several ``objectives`` make a Pareto front. ``only``: kinds of policies to tune, also as one text with
    commas. ``choose``: {kind: names} lets the search pick among policies, or
    texts as ``--choose`` takes them. ``ranges``: ``key=low:high[:log]`` texts. ``require``: bounds such as
    ``attainment>=0.9``. The rest is explained by :class:`spinsim.studies.tuning.trials.TunePlan`, ``where``
    by :class:`spinsim.api.Where`. Needs Optuna (the extra ``tune``). Raises InputError before anything runs.
    """
    at_least(1, trials=trials, batch=batch, fresh=fresh)
    at_least(0, confirm=confirm)
    from spinsim.studies.outcome import finish_tuning
    from spinsim.studies.tuning import tune as _tune
    from spinsim.studies.tuning.trials import TunePlan

    if isinstance(only, str):
        only = [kind.strip() for kind in only.split(",")] if only else ()
    if isinstance(choose, Mapping):
        choose = [f"{kind}={','.join(texts(names))}" for kind, names in choose.items()]
    plan = TunePlan(
        Path(scenario),
        objectives=texts(objectives),
        require=texts(require),
        only=texts(only),
        choose=texts(choose),
        ranges=texts(ranges),
        overrides=overrides(set),
        holdout_overrides=overrides(holdout_set),
        trials=trials,
        batch=batch,
        short=short,
        seeds=seeds,
        confirm=confirm,
        fresh=fresh,
        holdout=holdout,
        seed=seed,
        plugins=imported(plugins),
        engine=engine,
    )
    with lab("tuning", **where) as place:
        result = _tune.tune(plan, place)
    summary = finish_tuning(place.store, result, reports.of_tuning)
    return whole(Tuning(result, summary), summary)
