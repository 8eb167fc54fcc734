"""Where to measure next: near the point that the fit of its operation gets most wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from spinsim.costs.fits import ChosenFit, PassShape
from spinsim.costs.predictors import fit_operations
from spinsim.costs.profile import Profile
from spinsim.profiling.probes import Probe

# Good enough: below these held-out errors an operation gets no further points.
MEDIAN, P95 = 0.02, 0.08

Fitted = tuple[str, str, str]  # model, operation, packing


def held_out_errors(profile: Profile) -> dict[Fitted, ChosenFit]:
    """The chosen fit of every operation of every model that was measured."""
    return {
        (model, operation, packing): fitted.chosen
        for model in profile.models
        for (operation, packing), fitted in fit_operations(profile, model).items()
    }


def badness(chosen: ChosenFit) -> float:
    """How far beyond good enough a fit is; 1 is just so. A single point is as bad as can be."""
    held = chosen.held_out.get(chosen.fit.name)
    if held is None:
        return math.inf
    return max(held.quantile(0.5) / MEDIAN, held.quantile(0.95) / P95)


def next_probes(profile: Profile, candidates: Iterable[Probe], count: int) -> list[Probe]:
    """Up to ``count`` candidates for the operations that are not good enough, the worst first.

    Of each such operation: the candidate nearest, in octaves of tokens and KV tokens, to the point
    with the largest held-out error. Empty when all is good enough or nothing is left to measure.
    """
    left: dict[Fitted, list[Probe]] = {}
    for probe in candidates:
        left.setdefault((probe.model, probe.operation, probe.packing), []).append(probe)
    fits = held_out_errors(profile)
    ranked = sorted((key for key in left if key in fits), key=lambda key: -badness(fits[key]))
    chosen: list[Probe] = []
    for model, operation, packing in ranked:
        fit = fits[model, operation, packing]
        if badness(fit) <= 1 or len(chosen) >= count:
            break
        shapes = _shapes(profile, model, operation, packing)
        worst = _worst(fit, shapes)
        chosen.append(min(left[model, operation, packing], key=lambda probe: _octaves(probe.shape, worst)))
    return chosen


def _shapes(profile: Profile, model: str, operation: str, packing: str) -> list[PassShape]:
    from spinsim.costs.executed import pass_shape

    return [pass_shape(point) for point in profile.of(operation, model, packing)]


def _worst(chosen: ChosenFit, shapes: Sequence[PassShape]) -> PassShape:
    held = chosen.held_out.get(chosen.fit.name)
    if held is None:
        return shapes[0]
    return shapes[max(range(len(shapes)), key=lambda i: abs(held.errors[i]))]


def _octaves(a: PassShape, b: PassShape) -> float:
    return sum(abs(math.log2(max(x, 1) / max(y, 1))) for x, y in zip(a, b, strict=True))


def report(fits: Mapping[Fitted, ChosenFit]) -> list[dict[str, object]]:
    """Held-out errors by operation, for people: a row each, the worst first."""
    rows: list[dict[str, object]] = []
    for (model, operation, packing), chosen in fits.items():
        held = chosen.held_out.get(chosen.fit.name)
        rows.append(
            {
                "model": model,
                "operation": operation,
                "packing": packing,
                "fit": chosen.fit.name,
                "points": len(chosen.residuals),
                "median_error": None if held is None else held.quantile(0.5),
                "p95_error": None if held is None else held.quantile(0.95),
            }
        )
    return sorted(rows, key=lambda row: -float(row["p95_error"] or 0.0))  # type: ignore[arg-type]
