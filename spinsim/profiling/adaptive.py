"""Where to measure next: near the point that the fit of its operation gets most wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from spinsim.costs.contention_fit import groups_of, held_out
from spinsim.costs.profiled.collectives import held_out_sums, measured_sums
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.profiled.fits import ChosenFit
from spinsim.costs.profiled.predictors import ProfiledPass, fit_operations
from spinsim.costs.profiled.profile import Profile
from spinsim.profiling.probes import Probe

# Good enough: below these held-out errors an operation gets no further points.
MEDIAN, P95 = 0.02, 0.08

Fitted = tuple[str, str, str]  # model, operation, part of it
Identity = tuple[object, ...]


def fits_of(profile: Profile) -> dict[Fitted, ProfiledPass]:
    """Every part of every operation of every model that was measured, fitted."""
    return {
        (model, operation, part): fitted
        for model in profile.models
        for (operation, part), fitted in fit_operations(profile, model).items()
    }


def badness(chosen: ChosenFit) -> float:
    """How far beyond good enough a fit is; 1 is just so. A single point is as bad as can be."""
    held = chosen.held_out.get(chosen.fit.name)
    if held is None:
        return math.inf
    return max(held.quantile(0.5) / MEDIAN, held.quantile(0.95) / P95)


def next_probes(
    profile: Profile, candidates: Iterable[Probe], measured: Mapping[Identity, Probe], count: int
) -> list[Probe]:
    """For up to ``count`` operations that are not good enough, the worst first, what to measure next.

    Of each: the point with the largest held-out error again, which may be wrong itself, and the candidate
    nearest to it, in octaves of tokens and KV tokens. Empty when all is good enough or nothing is left.
    """
    left: dict[Fitted, list[Probe]] = {}
    for probe in candidates:
        left.setdefault((probe.model, probe.operation, probe.part), []).append(probe)
    known: dict[Fitted, list[Probe]] = {}
    for probe in measured.values():
        known.setdefault((probe.model, probe.operation, probe.part), []).append(probe)
    fits = fits_of(profile)
    ranked = sorted((key for key in left if key in fits), key=lambda key: -badness(fits[key].chosen))
    chosen: list[Probe] = []
    for key in ranked[:count]:
        if badness(fits[key].chosen) <= 1:
            break
        worst = _worst(fits[key])
        chosen += [probe for probe in known.get(key, ()) if probe.shape == worst]
        chosen.append(min(left[key], key=lambda probe: _octaves(probe.shape, worst)))
    return chosen


def _worst(fitted: ProfiledPass) -> PassShape:
    """The measured shape with the largest held-out error."""
    held = fitted.chosen.held_out.get(fitted.chosen.fit.name)
    if held is None:
        return fitted.shapes[0]
    return fitted.shapes[max(range(len(fitted.shapes)), key=lambda i: abs(held.errors[i]))]


def _octaves(a: PassShape, b: PassShape) -> float:
    return sum(abs(math.log2(max(x, 1) / max(y, 1))) for x, y in zip(a, b, strict=True))


def report_of_lanes(profile: Profile) -> list[dict[str, object]]:
    """As :func:`report`, of what lanes of one device do to each other; each subset of lanes is held out."""
    groups = groups_of(profile)
    points = sum(len(group.seconds) for group in groups)
    return [_of_the_machine("beside", "", points, held_out(groups))] if groups else []


def report_of_sums(profile: Profile) -> list[dict[str, object]]:
    """As :func:`report`, of all-reduces: a row for each number of devices and algorithm."""
    devices = sorted({int(p.features["devices"]) for p in profile.points if p.operation == "all_reduce"})
    return [
        _of_the_machine("all_reduce", algorithm, len(sums), held_out_sums(sums, algorithm, count))
        for count in devices
        for algorithm, sums in measured_sums(profile, count).items()
    ]


def _of_the_machine(operation: str, part: str, points: int, errors: ArrayLike) -> dict[str, object]:
    wrong = np.abs(np.asarray(errors, np.float64))
    known = len(wrong) > 0
    return {
        "model": "",
        "operation": operation,
        "part": part,
        "fit": "law",
        "points": points,
        "median_error": float(np.quantile(wrong, 0.5)) if known else None,
        "p95_error": float(np.quantile(wrong, 0.95)) if known else None,
    }


def report(fits: Mapping[Fitted, ProfiledPass]) -> list[dict[str, object]]:
    """Held-out errors by operation, for people: a row each, the worst first."""
    rows: list[dict[str, object]] = []
    for (model, operation, part), fitted in fits.items():
        chosen = fitted.chosen
        held = chosen.held_out.get(chosen.fit.name)
        rows.append(
            {
                "model": model,
                "operation": operation,
                "part": part,
                "fit": chosen.fit.name,
                "points": len(chosen.residuals),
                "median_error": None if held is None else held.quantile(0.5),
                "p95_error": None if held is None else held.quantile(0.95),
            }
        )
    return sorted(rows, key=lambda row: -float(row["p95_error"] or 0.0))  # type: ignore[arg-type]
