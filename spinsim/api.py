"""Everything the commands do, from Python: typed results, tables as pandas frames.

    from spinsim import api

    run = api.simulate("scenarios/quickstart.yaml", set={"policies.selector": {"name": "greedy"}})
    run.goodput, run.requests.ttft_s.quantile(0.99)

Frames need pandas (the extra ``notebook``). Experiments run in processes of their own, one a core
(``workers=0``: in this one); a script that calls them needs ``if __name__ == "__main__":``. With ``out``
their results are kept as they come, and ``resume=True`` goes on where a killed one stopped.
Bad input raises :class:`spinsim.errors.InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from spinsim.errors import InputError
from spinsim.experiments import capacity as _capacity
from spinsim.experiments import compare as _compare
from spinsim.experiments import finish as _finish
from spinsim.experiments import sweep as _sweep
from spinsim.experiments import tune as _tune
from spinsim.experiments.evaluate import Lab
from spinsim.experiments.pool import open_pool
from spinsim.experiments.rows import Row, records
from spinsim.experiments.simulate import simulate_scenario
from spinsim.experiments.store import Store, open_store
from spinsim.experiments.trials import TunePlan
from spinsim.experiments.variants import axis_of, override
from spinsim.plugins import load_plugins
from spinsim.scenario_file import LoadedScenario, load

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.experiments.replay import Replayed

__all__ = [
    "Capacity",
    "Comparison",
    "InputError",
    "Results",
    "Sweep",
    "Tuning",
    "capacity",
    "compare",
    "load",
    "open_results",
    "replay",
    "run",
    "simulate",
    "sweep",
    "tune",
]

PathLike = str | Path
Settings = Mapping[str, Any] | Sequence[str]  # {"key.path": value}, or "key.path=value" texts
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Results:
    """One run: the summary, and the tables of a results folder as frames."""

    summary: dict[str, Any]
    _table: Callable[[str], pd.DataFrame] = field(repr=False)

    @property
    def goodput(self) -> float:
        """Committed tokens per second."""
        return float(self.summary["goodput_tokens_per_s"])

    @property
    def latency(self) -> pd.DataFrame:
        """Seconds: a row for each of TTFT, TPOT, E2E, ...; columns count, mean, p50, p90, p99."""
        return _frame([{"latency": k, **v} for k, v in self.summary["latency"].items()]).set_index("latency")

    @cached_property
    def requests(self) -> pd.DataFrame:
        """A row a request."""
        return self._table("requests")

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row a request and round: draft, drafted, accepted, times."""
        return self._table("rounds")

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """A row a micro-batch's round."""
        return self._table("decisions")


@dataclass(frozen=True)
class Sweep:
    """``result`` holds what was planned and every summary."""

    result: _sweep.Sweep

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a cell: its place in the grid, and every number of its summary by dotted path."""
        return _rows(self.result.rows)


@dataclass(frozen=True)
class Comparison:
    """``result.effects[name]`` are typed: means, paired differences, intervals, verdicts."""

    result: _compare.Comparison

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each metric and alternative."""
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
                        "verdict": effect.verdict or "baseline",
                    }
                )
        return _frame(rows)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each alternative and seed."""
        return _rows(self.result.rows)


@dataclass(frozen=True)
class Capacity:
    """``result.rate`` is an interval, or None where the search found no rate that holds."""

    result: _capacity.Capacity

    @property
    def requests_per_s(self) -> float | None:
        """The capacity."""
        return None if self.result.rate is None else self.result.rate.estimate

    @cached_property
    def curve(self) -> pd.DataFrame:
        """A row for each rate and seed that was simulated."""
        return _frame(
            [
                {"rate": point.rate, "attainment": share, "fitted": point.fitted}
                for point in self.result.curve
                for share in point.attainments
            ]
        )


@dataclass(frozen=True)
class Tuning:
    """``result.winners`` are the chosen trials, with their gain on what tuning did not see."""

    result: _tune.Tuning

    @property
    def best(self) -> _tune.Winner:
        """The winner; the first member of a Pareto front."""
        if not self.result.winners:
            raise RuntimeError(f"nothing was chosen: {'; '.join(self.result.notes)}")
        return self.result.winners[0]

    def write(self, path: PathLike, winner: int = 0) -> Path:
        """Write a winner as a scenario that simulate and run take."""
        path = Path(path)
        path.write_text(self.result.winners[winner].yaml, encoding="utf-8")
        return path

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial: its parameters, state and objectives."""
        return _frame(
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


def simulate(
    scenario: PathLike,
    *,
    set: Settings = (),
    seed: int | None = None,
    out: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
    progress: Progress | None = None,
) -> Results:
    """Predict one scenario. With ``out``, its results folder is written, too (and replaced)."""
    loaded = _load(scenario, set, seed, plugins)
    from spinsim.experiments.publish import publish

    simulated = simulate_scenario(loaded.scenario, loaded.base_dir, progress)
    summary = publish(
        loaded,
        Path(out) if out is not None else None,
        simulated.records,
        simulated.workload,
        mode="simulated",
        acceptance_source=simulated.acceptance_source,
        progress=progress,
    )

    def table(name: str) -> pd.DataFrame:
        from spinsim.reporting import tables

        with TemporaryDirectory() as folder:
            getattr(tables, f"write_{name}")(Path(folder), simulated.records)
            return _parquet(Path(folder), name)

    return Results(summary, table)


def run(
    scenario: PathLike,
    out: PathLike,
    *,
    set: Settings = (),
    seed: int | None = None,
    device: str | None = None,
    plugins: Sequence[PathLike] = (),
    progress: Progress | None = None,
) -> Results:
    """Execute one scenario with real models on real devices, into the folder ``out`` (replaced)."""
    loaded = _load(scenario, set, seed, plugins, device)
    from spinsim.experiments.run import run as experiment

    experiment(loaded, Path(out), progress)
    return open_results(out)


def open_results(folder: PathLike) -> Results:
    """The results folder of an earlier simulate or run."""
    import json

    folder = Path(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            "is no results folder; give one that simulate or run wrote", file=str(folder)
        ) from None
    return Results(summary, lambda name: _parquet(folder, name))


def replay(folder: PathLike) -> Replayed:
    """Feed a live run's inputs through the engine again and compare every decision."""
    from spinsim.experiments.replay import replay as experiment

    return experiment(Path(folder))


def sweep(
    scenario: PathLike,
    grid: Mapping[str, Any] | None = None,
    *,
    set: Settings = (),
    seeds: int | None = None,
    seed: int | None = None,
    metrics: Sequence[str] = (),
    plugins: Sequence[PathLike] = (),
    **where: Any,
) -> Sweep:
    """Simulate every combination of ``grid``: values by key, or by any name {label: {key: value}}.

    ``scenario`` may be a sweep's YAML. ``where``: workers, cluster, out, resume, force, progress.
    """
    from dataclasses import replace

    loaded_plugins = load_plugins(plugins)
    plan = _sweep.read_sweep(Path(scenario)) or _sweep.SweepPlan(Path(scenario), ())
    plan = replace(
        plan,
        axes=(*plan.axes, *(axis_of(name, values) for name, values in (grid or {}).items())),
        overrides=(*plan.overrides, *_overrides(set)),
        seeds=plan.seeds if seeds is None else seeds,
        seed=plan.seed if seed is None else seed,
        metrics=tuple(metrics) or plan.metrics,
        plugins=loaded_plugins,
    )
    with _lab("sweep", **where) as lab:
        result = _sweep.sweep(plan, lab)
    _finish.finish_sweep(lab.store, result)
    return Sweep(result)


def compare(
    scenarios: PathLike | Sequence[PathLike],
    policies: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    set: Settings = (),
    seeds: int = _compare.SEEDS,
    seed: int | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    plugins: Sequence[PathLike] = (),
    **where: Any,
) -> Comparison:
    """Compare scenarios, or one scenario with ``policies``: {name: {kind: {"name": ..., ...}}}.

    ``where``: workers, cluster, out, resume, force, progress.
    """
    paths = [Path(scenarios)] if isinstance(scenarios, str | Path) else [Path(path) for path in scenarios]
    loaded_plugins = load_plugins(plugins)
    common = _overrides(set)
    given = _compare.alternatives(paths, [], common) if len(paths) > 1 else []
    if len(paths) == 1:
        given = [_compare.Alternative(paths[0].stem, paths[0], common)]
    for name, choices in (policies or {}).items():
        sets = tuple(override(f"policies.{kind}", choice) for kind, choice in choices.items())
        given.append(_compare.Alternative(name, paths[0], (*common, *sets)))
    if len(given) < 2 or len({a.name for a in given}) < len(given):
        raise InputError(
            "nothing to compare with, or a name twice; give distinct alternatives", key="compare"
        )
    with _lab("comparison", **where) as lab:
        result = _compare.compare(
            given, lab, seeds=seeds, seed=seed, metrics=metrics, baseline=baseline, plugins=loaded_plugins
        )
    _finish.finish_comparison(lab.store, result)
    return Comparison(result)


def capacity(
    scenario: PathLike,
    *,
    slo: Mapping[str, float] | None = None,
    attainment: float = 0.9,
    duration_s: float | None = None,
    tolerance: float = 0.05,
    seeds: int = 4,
    seed: int | None = None,
    set: Settings = (),
    plugins: Sequence[PathLike] = (),
    **where: Any,
) -> Capacity:
    """The highest arrival rate at which ``attainment`` of the requests meet ``slo`` (ttft_s, tpot_s).

    ``where``: workers, cluster, out, resume, force, progress.
    """
    loaded_plugins = load_plugins(plugins)
    objectives = tuple(override(f"slo.{name}", limit) for name, limit in (slo or {}).items())
    overrides = (*_overrides(set), *objectives)
    plan = _capacity.CapacityPlan(
        Path(scenario), attainment, overrides, duration_s, tolerance, seeds, seed, loaded_plugins
    )
    with _lab("capacity", **where) as lab:
        result = _capacity.capacity(plan, lab)
    _finish.finish_capacity(lab.store, result)
    return Capacity(result)


def tune(
    scenario: PathLike,
    *,
    objectives: str | Sequence[str] = "goodput",
    set: Settings = (),
    plugins: Sequence[PathLike] = (),
    workers: int | None = None,
    cluster: str | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **plan: Any,
) -> Tuning:
    """Search the policies' parameters; needs Optuna (the extra ``tune``).

    ``plan``: further fields of :class:`spinsim.experiments.trials.TunePlan`, such as ``trials``,
    ``choose`` and ``require``.
    """
    wanted = TunePlan(
        Path(scenario),
        objectives=(objectives,) if isinstance(objectives, str) else tuple(objectives),
        overrides=_overrides(set),
        plugins=load_plugins(plugins),
        **plan,
    )
    with _lab(
        "tuning",
        workers=workers,
        cluster=cluster,
        out=out,
        resume=resume,
        force=force,
        progress=progress,
    ) as lab:
        result = _tune.tune(wanted, lab)
    _finish.finish_tuning(lab.store, result)
    return Tuning(result)


@contextmanager
def _lab(
    kind: str,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Iterator[Lab]:
    store = Store() if out is None else open_store(Path(out), kind, resume=resume, force=force)
    with open_pool(workers, cluster) as pool:
        yield Lab(pool, store, progress)


def _overrides(settings: Settings) -> tuple[str, ...]:
    if isinstance(settings, Mapping):
        return tuple(override(key, value) for key, value in settings.items())
    return tuple(settings)


def _load(
    scenario: PathLike,
    settings: Settings,
    seed: int | None,
    plugins: Sequence[PathLike],
    device: str | None = None,
) -> LoadedScenario:
    load_plugins(plugins)
    seeds = () if seed is None else (f"seed={seed}",)
    return load(Path(scenario), [*_overrides(settings), *seeds], device)


def _rows(rows: Sequence[Row]) -> pd.DataFrame:
    return _frame(records(rows))


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return _pandas().DataFrame(list(rows))


def _parquet(folder: Path, name: str) -> pd.DataFrame:
    import pyarrow.parquet as pq

    _pandas()
    return pq.read_table(folder / f"{name}.parquet").to_pandas()


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InputError(
            "frames need pandas, which is not installed; pip install 'spinsim[notebook]'", key="api"
        ) from None
    return pandas
