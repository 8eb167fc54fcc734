"""What the runs of a ladder's steps came to: rates, ratios, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spinsim.lab.rows import Planned, Row
from spinsim.lab.statistics import Interval, mean_interval, relative_difference
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, resolved_yaml
from spinsim.studies.ladder.steps import BEST_SERIAL, ORDER, REPLICAS, SHARDED, VANILLA

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Work:
    """A step as cells: for each seed one, or one for each copy, whose goodputs add up."""

    name: str
    what: str
    gpus: int
    cells: tuple[tuple[Planned, ...], ...] = ()
    why: str = ""
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A ladder's steps, planned and not yet run; ``loaded``: the scenario itself."""

    loaded: LoadedScenario
    work: tuple[Work, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``goodput`` (:func:`rate_of`) in tokens/s of all GPUs together; ``None`` where it could not
    run (``why``).

    ``to_vanilla`` and ``to_best_serial``: mean ratios over pairs of seeds, with intervals.
    ``summaries``: of its runs, by seed; of ``replicas``, one of the copies.
    """

    name: str
    what: str
    gpus: int
    goodput: Interval | None
    to_vanilla: Interval | None = None
    to_best_serial: Interval | None = None
    to_best_alternative: Interval | None = None
    predicted: Interval | None = None  # of a live step: the goodput that was simulated before it ran
    why: str = ""
    summaries: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Every step, in order; ``alternative`` names the better of replicas and sharded, if there is one."""

    scenario: str
    seeds: tuple[int, ...]
    steps: tuple[Step, ...]
    alternative: str | None
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    written: str = field(default="", repr=False)  # the scenario as resolved YAML
    measured: str = "goodput_tokens_per_s"  # the metric that steps are compared by


def rate_of(scenario: Scenario, summary: Mapping[str, Any]) -> float:
    """Tokens per second of a run: its goodput, or that of decoding alone where requests start in mid-flight,
    since prompts that carry their contexts are no traffic of a steady state."""
    return float(summary[measured(scenario)] or 0.0)


def measured(scenario: Scenario) -> str:
    """The metric that steps are compared by."""
    return "goodput_tokens_per_s" if scenario.workload.mid_flight is None else "decode_tokens_per_s"


def climbed(ready: Prepared, rows: Sequence[Row]) -> Ladder:
    """What the runs of the steps came to; a seed counts for a step where all of its copies have run."""
    scenario, seeds, work = ready.loaded.scenario, ready.seeds, ready.work
    by_step: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        by_step.setdefault(row.labels["step"], {}).setdefault(row.seed, []).append(row)
    rates: dict[str, dict[int, float]] = {}
    for step in work:
        ended = by_step.get(step.name, {})
        rates[step.name] = {
            seed: sum(rate_of(scenario, row.summary) for row in copies if row.summary is not None)
            for seed, copies in ended.items()
            if all(row.summary is not None for row in copies)
        }
    alternatives = [name for name in (REPLICAS, SHARDED) if rates.get(name)]
    mean = {name: sum(values.values()) / len(values) for name, values in rates.items() if values}
    alternative = max(alternatives, key=mean.__getitem__, default=None)
    ratio = partial(_ratio, rates)
    found = []
    for step in sorted(work, key=lambda one: ORDER.index(one.name)):
        values = list(rates[step.name].values())
        failed = [row.error for row in rows if row.labels["step"] == step.name and row.summary is None]
        found.append(
            Step(
                step.name,
                step.what,
                step.gpus,
                mean_interval(values, CONFIDENCE) if values else None,
                ratio(step.name, VANILLA),
                ratio(step.name, BEST_SERIAL),
                ratio(step.name, alternative),
                None,
                step.why or (failed[0] if failed else ""),
                tuple(dict(row.summary) for row in rows if row.labels["step"] == step.name and row.summary),
            )
        )
    notes = [] if len(seeds) > 1 else ["one seed has no interval; give --seeds 3 or more"]
    return Ladder(
        scenario.name,
        seeds,
        tuple(found),
        alternative,
        tuple(notes),
        tuple(rows),
        resolved_yaml(ready.loaded),
        measured(scenario),
    )


def _ratio(rates: dict[str, dict[int, float]], name: str, to: str | None) -> Interval | None:
    base, other = rates.get(to or "", {}), rates.get(name, {})
    pairs = [(base[seed], other[seed]) for seed in other if base.get(seed)]
    if not pairs:
        return None
    one = relative_difference([a for a, _ in pairs], [b for _, b in pairs], CONFIDENCE)
    low, high = (None if bound is None else 1 + bound for bound in (one.low, one.high))
    return Interval(1 + one.estimate, low, high, one.confidence, one.samples)
