"""Fits of measured passes: a law of the roofline's form, or monotone interpolation.

All candidates are fitted and judged on points that they have not seen. The best one is chosen, with its
errors and residuals (:func:`fit_pass`). That takes 20 ms and more, and a solver that takes 0.3 s to load, so
what was fitted once is kept in the user's cache folder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.profiled.laws import (
    LAWS,
    Array,
    Fitter,
    Law,
    LongestRowLaw,
    PassFit,
    RowLaw,
    Waits,
    law_fitter,
    longest_row_fitter,
    unit_costs,
    waited_for,
)
from spinsim.costs.profiled.stairs import OnStairs, on_stairs, on_stairs_name, walked
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.user_cache import code_digest, kept

# What a kept fit depends on, beside its points.
CODE = ("costs", "buckets.py", "operations.py")
SOLVERS = ("numpy", "scipy")

LEAVE_ONE_OUT = 12  # up to so many points each is left out alone, beyond it an eighth of them at a time
FOLDS = 8
LONG_CONTEXT = 2048  # of a row; below it no row is waited for long enough to tell a law from the other (ours)


class HeldOut(NamedTuple):
    """Relative errors (predicted / measured - 1) on points that the fit had not seen."""

    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the absolute relative errors."""
        return float(np.mean(np.abs(self.errors)))

    def quantile(self, q: float) -> float:
        """Quantile of the absolute relative errors."""
        return float(np.quantile(np.abs(self.errors), q))


class ChosenFit(NamedTuple):
    """The better fit, the held-out errors of every candidate, and the chosen one's residuals (relative)."""

    fit: PassFit
    held_out: dict[str, HeldOut]
    residuals: tuple[float, ...]


class MonotoneTable:
    """Bilinear in (tokens, KV tokens) between measured points, made nondecreasing in both.

    Points of one token count are regressed isotonically over KV tokens, and continued beyond their own
    ends with the slope that all token counts share; then token counts are ordered among each other.
    """

    name = native = "interpolation"

    def __init__(self, tokens: Sequence[float], knots: Sequence[float], table: Array) -> None:
        self._tokens = list(tokens)
        self.knots = list(knots)
        self._table = table
        self._rows: dict[float, list[float]] = {}

    def plain(self) -> dict[str, Any]:
        """All of it."""
        return {"tokens": self._tokens, "knots": self.knots, "table": self._table.tolist()}

    def predict(self, shape: PassShape) -> float:
        """Seconds of a pass; the nearest edge's beyond the table's ends."""
        row = self._rows.get(shape.tokens)
        if row is None:
            row = self._rows[shape.tokens] = self.row(shape.tokens)
        knots, kv = self.knots, shape.kv_tokens
        at = bisect_right(knots, kv)
        if at == 0:
            return row[0]
        if at == len(knots):
            return row[-1]
        low, high = knots[at - 1], knots[at]
        return row[at - 1] + (row[at] - row[at - 1]) * (kv - low) / (high - low)

    def row(self, tokens: float) -> list[float]:
        """Seconds at every knot of KV tokens."""
        at = bisect_right(self._tokens, tokens)
        if at == 0:
            values = self._table[0]
        elif at == len(self._tokens):
            values = self._table[-1]
        else:
            low, high = self._tokens[at - 1], self._tokens[at]
            part = (tokens - low) / (high - low)
            values = self._table[at - 1] * (1 - part) + self._table[at] * part
        return [float(v) for v in values]


def fit_table(points: Sequence[PassShape], seconds: Array) -> PassFit:
    """Fits :class:`MonotoneTable`."""
    from scipy.optimize import isotonic_regression

    groups: dict[float, dict[float, list[float]]] = {}
    for point, value in zip(points, seconds, strict=True):
        groups.setdefault(point.tokens, {}).setdefault(point.kv_tokens, []).append(float(value))
    knots = np.array(sorted({point.kv_tokens for point in points}))
    tokens = sorted(groups)
    curves = []
    for token in tokens:
        kv = np.array(sorted(groups[token]))
        values = np.array([_mean(groups[token][k]) for k in kv])
        curves.append((kv, np.asarray(isotonic_regression(values).x, dtype=np.float64)))
    slope = _shared_slope(curves)
    table = np.empty((len(tokens), len(knots)))
    for index, (kv, values) in enumerate(curves):
        inside = np.interp(knots, kv, values)
        below = np.maximum(values[0] - slope * (kv[0] - knots), 0.0)
        above = values[-1] + slope * (knots - kv[-1])
        table[index] = np.where(knots < kv[0], below, np.where(knots > kv[-1], above, inside))
    # Between the largest value so far and the least still to come: ordered, and biased to neither side.
    rising = np.maximum.accumulate(table, axis=0)
    falling = np.minimum.accumulate(table[::-1], axis=0)[::-1]
    return MonotoneTable(tokens, knots.tolist(), (rising + falling) / 2)


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else float(np.mean(values))  # mostly one, where numpy takes long


def _shared_slope(curves: Sequence[tuple[Array, Array]]) -> float:
    """Least-squares seconds per KV token within token counts, at least 0."""
    above = below = 0.0
    for kv, values in curves:
        centred = kv - kv.mean()
        above += float(centred @ (values - values.mean()))
        below += float(centred @ centred)
    return max(above / below, 0.0) if below > 0 else 0.0


def held_out(fitter: Fitter, points: Sequence[PassShape], seconds: Array) -> HeldOut:
    """Relative errors on each point, by a fit to the other folds; in the points' order."""
    count = len(points)
    folds = count if count <= LEAVE_ONE_OUT else FOLDS
    errors: Any = np.empty(count)
    order = np.random.default_rng(0).permutation(count)
    for fold in range(folds):
        out = order[fold::folds]
        kept = np.setdiff1d(order, out)
        fit = fitter([points[i] for i in kept], seconds[kept])
        for i in out:
            errors[i] = fit.predict(points[i]) / seconds[i] - 1.0
    return HeldOut(tuple(float(e) for e in errors))


def fit_pass(
    points: Sequence[PassShape],
    seconds: Sequence[float],
    shape: ModelShape,
    dtype: str,
    devices: int = 1,
    *,
    waits: Waits = "",
) -> ChosenFit:
    """The candidate with the least mean held-out error; ``waits``: see :func:`waited_for`.

    Raises ValueError without a point.
    """
    if not points:
        raise ValueError("no point to fit")

    def calculate() -> dict[str, Any]:
        return _plain(_chosen(points, seconds, _fitters(points, shape, dtype, devices, waits)))

    given = (points, seconds, asdict(shape), dtype, devices, waits)
    found = kept("fits", given, code_digest(CODE, SOLVERS), calculate)
    return _restored(found, shape, dtype, devices, waits=waits)


def _fitters(
    points: Sequence[PassShape], shape: ModelShape, dtype: str, devices: int, waits: Waits
) -> dict[str, Fitter]:
    """The candidates, by name."""
    law = law_fitter(shape, dtype, devices, waits=waits)
    fitters: dict[str, Fitter] = {Law.name: law, MonotoneTable.name: fit_table}
    long = max(waited_for(point, waits) for point in points) > LONG_CONTEXT
    if long and waits == "rows":
        fitters[RowLaw.name] = law_fitter(shape, dtype, devices, waits=waits, few_rows=True)
    elif long:
        fitters[LongestRowLaw.name] = longest_row_fitter(shape, dtype, devices, waits=waits)
    if waits == "prompts" and walked(points):
        laws = [name for name in fitters if name in LAWS]
        fitters |= {on_stairs_name(name): on_stairs(fitters[name]) for name in laws}
    return fitters


def _chosen(
    points: Sequence[PassShape], seconds: Sequence[float], fitters: Mapping[str, Fitter]
) -> ChosenFit:
    measured = np.asarray(seconds, dtype=np.float64)
    if len(points) == 1:
        fit = fit_table(points, measured)
        return ChosenFit(fit, {}, (0.0,))
    errors = {name: held_out(fitter, points, measured) for name, fitter in fitters.items()}
    best = min(errors, key=lambda name: errors[name].mean)
    fit = fitters[best](points, measured)
    residuals = tuple(fit.predict(p) / float(s) - 1.0 for p, s in zip(points, measured, strict=True))
    return ChosenFit(fit, errors, residuals)


def _plain(chosen: ChosenFit) -> dict[str, Any]:
    errors = {name: found.errors for name, found in chosen.held_out.items()}
    return {chosen.fit.name: chosen.fit.plain(), "held_out": errors, "residuals": chosen.residuals}


def _restored(
    plain: dict[str, Any], shape: ModelShape, dtype: str, devices: int, *, waits: Waits
) -> ChosenFit:
    def law(name: str, of: dict[str, Any]) -> PassFit:
        costs = unit_costs(shape, dtype, devices, of["ratio"])
        return LAWS[name](costs, of["ratio"], of["coefficients"], waits, of["alone"])

    name = next(name for name in plain if name not in ("held_out", "residuals"))
    own = plain[name]
    fit: PassFit
    if name == MonotoneTable.name:
        fit = MonotoneTable(own["tokens"], own["knots"], np.array(own["table"]))
    elif name in LAWS:
        fit = law(name, own)
    else:
        fit = OnStairs(law(own["name"], own["law"]), own["tokens"], own["levels"])
    errors = {name: HeldOut(tuple(found)) for name, found in plain["held_out"].items()}
    return ChosenFit(fit, errors, tuple(plain["residuals"]))
