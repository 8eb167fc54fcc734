"""``spinsim compare``: alternatives side by side on common random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row, planned_cell, rows_of
from spinsim.lab.statistics import (
    FEWEST,
    Interval,
    Verdict,
    mean_difference,
    mean_interval,
    relative_difference,
    verdict,
)
from spinsim.results.expected_metrics import check_metrics, optional_sections
from spinsim.results.metrics import Metric, usual_metrics, value
from spinsim.scenario_file import LoadedScenario, load, resolved_yaml
from spinsim.scenario_file.variants import policy_overrides, said_by, seeds_from

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Alternative:
    """A scenario under a name of its own, with what it overrides."""

    name: str
    scenario: Path
    overrides: tuple[str, ...] = ()
    own: tuple[str, ...] = ()  # those of the overrides that make it an alternative
    origin: str = ""  # what the user wrote to name it, for errors


@dataclass(frozen=True, slots=True)
class Effect:
    """An alternative against the baseline in one metric, over the pairs of seeds where both ended.

    ``relative`` is mean / baseline's mean - 1; ``verdict`` follows from ``difference``, whose
    interval covers all alternatives at once (Bonferroni).
    """

    metric: Metric
    mean: Interval
    difference: Interval | None  # None for the baseline itself
    relative: Interval | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``effects[name]`` holds an Effect for each metric, the first being the one asked about."""

    baseline: str
    seeds: tuple[int, ...]
    metrics: tuple[Metric, ...]
    effects: dict[str, tuple[Effect, ...]]
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    scenarios: Mapping[str, str] = field(default_factory=dict, repr=False)  # resolved YAML by name


def alternatives(
    scenarios: Sequence[Path], policies: Sequence[str], overrides: Sequence[str] = ()
) -> list[Alternative]:
    """Scenarios by the names of their files, or one scenario as it stands and with each of ``policies``.

    ``policies`` are ``[NAME:]kind=name,parameter=value`` texts. Raises InputError for fewer than two.
    """
    chosen = {}
    for text in policies:
        name, settings = labelled(text)
        if name in chosen:
            raise InputError(f"{name!r} is given twice; each alternative once", key="--policy")
        chosen[name] = policy_overrides(settings)
    return with_policies(scenarios, chosen, overrides)


def with_policies(
    scenarios: Sequence[Path], policies: Mapping[str, Sequence[str]], overrides: Sequence[str] = ()
) -> list[Alternative]:
    """Like :func:`alternatives`, with what each of ``policies`` sets by its name."""
    if policies and len(scenarios) > 1:
        raise InputError("takes one scenario; give several scenarios or several policies", key="--policy")
    if len(scenarios) + len(policies) < 2:
        raise InputError("nothing to compare with; give a second scenario, or --policy", key="compare")
    names = [path.stem for path in scenarios]
    if len(set(names)) < len(names):  # files of the same name in different folders
        names = [f"{path.parent.name}/{path.stem}" for path in scenarios]
    for name in (*names, *policies):
        if [*names, *policies].count(name) > 1:
            raise InputError(f"{name!r} is given twice; each alternative once", key="compare")
    return [
        *(Alternative(name, path, tuple(overrides)) for name, path in zip(names, scenarios, strict=True)),
        *(
            Alternative(name, scenarios[0], (*overrides, *own), tuple(own), f"--policy {name}")
            for name, own in policies.items()
        ),
    ]


def labelled(text: str) -> tuple[str, str]:
    """Name and settings of ``NAME:kind=...``; without a name the settings are it."""
    name, colon, settings = text.partition(":")
    return (name.strip(), settings.strip()) if colon and name.strip() and "=" not in name else (text, text)


def compare(
    given: Sequence[Alternative],
    lab: Lab,
    *,
    seeds: int,
    seed: int | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    plugins: Sequence[str] = (),
) -> Comparison:
    """Simulate every alternative with the same seeds, and compare pairs.

    One seed draws the same arrivals, lengths, difficulties and acceptances for all (common random
    numbers), so that the differences of pairs vary less than the values do. ``seed`` is the first
    (None: the first scenario's). Raises InputError before anything runs.
    """
    names = [alternative.name for alternative in given]
    baseline = names[0] if baseline is None else baseline
    if baseline not in names:
        raise InputError(f"{baseline!r} is no alternative; choose from {', '.join(names)}", key="--baseline")
    loaded = []
    for a in given:
        with said_by(dict.fromkeys(a.own, a.origin), otherwise=a.origin if a.own else ""):
            loaded.append(load(a.scenario, a.overrides))
        check_fits(loaded[-1])
    scenarios = [one.scenario for one in loaded]
    first = scenarios[0].seed if seed is None else seed
    wanted = check_metrics(metrics, scenarios, "--metric")
    wanted = wanted or usual_metrics(set.intersection(*map(optional_sections, scenarios)))
    numbers = seeds_from(first, seeds)
    cells = [
        Planned(
            {"alternative": a.name},
            number,
            planned_cell(load(a.scenario, [*a.overrides, f"seed={number}"]), plugins),
        )
        for number in numbers  # by seed first: an interrupted comparison has whole pairs
        for a in given
    ]
    lab.store.write_manifest("comparison", _manifest(given, baseline, cells))
    rows = rows_of(cells, lab.evaluate(p.cell for p in cells))
    found = effects(rows, names, baseline, wanted)
    still = all(_unmoved(effect.mean) for effect in found[baseline])
    return Comparison(
        baseline,
        tuple(numbers),
        tuple(wanted),
        found,
        tuple(_notes(given, loaded, rows, len(numbers), still)),
        tuple(rows),
        {a.name: resolved_yaml(one) for a, one in zip(given, loaded, strict=True)},
    )


def effects(
    rows: Sequence[Row], names: Sequence[str], baseline: str, metrics: Sequence[Metric]
) -> dict[str, tuple[Effect, ...]]:
    """Every alternative against the baseline, metric by metric."""
    values: dict[str, dict[Metric, dict[int, float]]] = {name: {m: {} for m in metrics} for name in names}
    for row in rows:
        if row.summary is not None:
            for each in metrics:
                number = value(row.summary, each)
                if number is not None:
                    values[row.labels["alternative"]][each][row.seed] = number
    simultaneous = 1 - (1 - CONFIDENCE) / max(1, len(names) - 1)
    return {
        name: tuple(
            _effect(each, values[baseline][each], values[name][each], name == baseline, simultaneous)
            for each in metrics
        )
        for name in names
    }


def _effect(
    metric: Metric, base: dict[int, float], other: dict[int, float], own: bool, confidence: float
) -> Effect:
    mean = mean_interval(list(other.values()), CONFIDENCE) if other else _nothing()
    pairs = [(base[seed], other[seed]) for seed in other if seed in base]
    if own or not pairs:
        return Effect(metric, mean, None, None, None)
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    difference = mean_difference(before, after, confidence)
    return Effect(
        metric,
        mean,
        difference,
        relative_difference(before, after, confidence),
        verdict(difference, lower=metric.lower),
    )


def _unmoved(mean: Interval) -> bool:
    """Did several seeds give one value?"""
    return mean.samples > 1 and mean.low is None


def _nothing() -> Interval:
    return Interval(float("nan"), None, None, CONFIDENCE, 0)


def _notes(
    given: Sequence[Alternative],
    loaded: Sequence[LoadedScenario],
    rows: Sequence[Row],
    seeds: int,
    still: bool,
) -> list[str]:
    notes = []
    if still:
        notes.append(
            "every seed gave the baseline the same figures: its requests do not depend on the seed, and "
            "nothing is said of others; workload.source.resample=true draws them"
        )
    base = loaded[0].scenario
    for alternative, one in zip(given[1:], loaded[1:], strict=True):
        if one.scenario.workload != base.workload:
            notes.append(
                f"{alternative.name} has another workload than {given[0].name}: "
                "pairs share seeds, not requests"
            )
    if seeds < FEWEST:
        notes.append(f"{seeds} seeds allow no verdict; {FEWEST} or more do")
    failed = sum(row.summary is None for row in rows)
    if failed:
        notes.append(f"{failed} of {len(rows)} cells failed; pairs without both values are left out")
    return notes


def _manifest(given: Sequence[Alternative], baseline: str, cells: Sequence[Planned]) -> dict[str, Any]:
    return {
        "alternatives": {
            a.name: {"scenario": a.scenario.name, "overrides": list(a.overrides)} for a in given
        },
        "baseline": baseline,
        "code": cells[0].cell.code,
        "cells": [{"key": p.cell.key, "seed": p.seed, **p.labels} for p in cells],
    }
