"""Fits of measured passes: a law of the roofline's form, or monotone interpolation.

Both are fitted, both are judged on points they have not seen, and the better one is chosen, with its
errors and residuals (:func:`fit_pass`). That takes 20 ms and a solver that takes 0.3 s to load, so what was
fitted once is kept in the user's cache folder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spinsim.buckets import LONG_QUERY
from spinsim.costs.collectives import RING, Collective
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.user_cache import code_digest, kept

Array = NDArray[np.float64]

# What a kept fit depends on, beside its points.
CODE = ("costs", "buckets.py", "operations.py")
SOLVERS = ("numpy", "scipy")

LEAVE_ONE_OUT = 12  # up to so many points each is left out alone, beyond it an eighth of them at a time
FOLDS = 8
RATIOS = tuple(float(r) for r in np.geomspace(4.0, 4000.0, 31))  # flops a byte: CPUs to tensor cores


class PassFit(Protocol):
    """Seconds of a pass, nondecreasing in tokens and in KV tokens."""

    name: str

    def predict(self, shape: PassShape) -> float: ...

    def plain(self) -> dict[str, Any]:
        """What JSON can hold of it, for :func:`_restored`."""
        ...


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


Fitter = Callable[[Sequence[PassShape], Array], PassFit]


class Law:
    """overhead + a * operators + b * attention + c * tokens + d * rows + e * context, none negative.

    Operators and attention are sums of max(bytes, flops / ratio) of the model's shape, so that a is
    the inverse of an achieved bandwidth and a / ratio that of an achieved rate. Context counts where
    ``waits``, see :func:`waited_for`.
    """

    name = native = "law"

    def __init__(self, costs: PassCosts, ratio: float, coefficients: Sequence[float], waits: bool) -> None:
        self.ratio = ratio
        self.coefficients = tuple(float(c) for c in coefficients)
        self.costs, self.waits = costs, waits
        self._fixed: dict[tuple[float, float], float] = {}

    def plain(self) -> dict[str, Any]:
        """Without the costs of the model's shape."""
        return {"ratio": self.ratio, "coefficients": self.coefficients}

    def predict(self, shape: PassShape) -> float:
        """Seconds of a pass."""
        _, _, attention, _, row, context = self.coefficients
        fixed = self._fixed.get((shape.tokens, shape.head))
        if fixed is None:
            fixed = self._fixed[shape.tokens, shape.head] = self.fixed(shape.tokens, shape.head)
        read = self.costs.attention.seconds(shape.kv_tokens, shape.queries, shape.pairs)
        return fixed + attention * read + row * shape.rows + context * waited_for(shape, self.waits)

    def fixed(self, tokens: float, head: float) -> float:
        """Seconds of what depends on tokens, and on positions with logits, alone."""
        overhead, operators, _, token, _, _ = self.coefficients
        work = self.costs.body(int(tokens)) + self.costs.output(int(head))
        return overhead + operators * work + token * tokens


def waited_for(shape: PassShape, waits: bool) -> float:
    """K/V tokens that one row reads one after the other while the rest of the device has nothing to do.

    The kernel of many new tokens (prefill, catch-up: ``waits``) does not cut a row's K/V, so that a pass of
    few rows takes as long as its longest row's context, however little is read in all.
    """
    if not waits or shape.tokens < LONG_QUERY:
        return 0.0
    return shape.longest or shape.kv_tokens / shape.rows


def _unit_costs(shape: ModelShape, dtype: str, devices: int, ratio: float) -> PassCosts:
    """Costs in bytes: one byte a second, ``ratio`` flops a byte, free communication and launches."""
    unit = Hardware(
        name="unit",
        memory_bytes=0,
        bandwidth=1.0,
        rate=MappingProxyType({dtype: ratio}),
        bandwidth_efficiency=1.0,
        compute_efficiency=1.0,
        launch_s=0.0,
        graph_kernel_s=0.0,
        graph_launch_s=0.0,
        link_bandwidth=float("inf"),
        link_latency_s=0.0,
        copy_latency_s=0.0,
        reserved_bytes=0,
        graphs=True,
        collectives=(Collective(RING, 0.0, 1.0),),
        source="",
    )
    return PassCosts(shape, dtype, unit, devices=devices)


def law_fitter(shape: ModelShape, dtype: str, devices: int = 1, *, waits: bool = False) -> Fitter:
    """Fits :class:`Law` by nonnegative least squares on relative errors, for the best of many ratios."""
    candidates = [(ratio, _unit_costs(shape, dtype, devices, ratio)) for ratio in RATIOS]
    known: dict[PassShape, Array] = {}  # a point's row of the matrix of every candidate

    def rows(point: PassShape) -> Array:
        found = known.get(point)
        if found is None:
            context = waited_for(point, waits)
            features = []
            for _, costs in candidates:
                work = costs.body(int(point.tokens)) + costs.output(int(point.head))
                attention = costs.attention.seconds(point.kv_tokens, point.queries, point.pairs)
                features.append([1.0, work, attention, point.tokens, point.rows, context])
            found = known[point] = np.array(features)
        return found

    def fit(points: Sequence[PassShape], seconds: Array) -> PassFit:
        from scipy.optimize import nnls  # takes 0.3 s to load, and kept fits do without

        matrices = np.stack([rows(point) for point in points], axis=1)
        scales = matrices.max(axis=1)
        scales[scales == 0] = 1.0
        matrices /= scales[:, None]
        matrices /= seconds[:, None]
        ones = np.ones(len(points))
        best: tuple[float, int, Array] | None = None
        for index, matrix in enumerate(matrices):
            found, residual = nnls(matrix, ones)
            if best is None or residual < best[0]:
                best = float(residual), index, found
        assert best is not None
        _, index, found = best
        ratio, costs = candidates[index]
        return Law(costs, ratio, (found / scales[index]).tolist(), waits)

    return fit


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
    waits: bool = False,
) -> ChosenFit:
    """The candidate with the least mean held-out error; ``waits`` for prefill and catch-up.

    Raises ValueError without a point.
    """
    if not points:
        raise ValueError("no point to fit")

    def calculate() -> dict[str, Any]:
        return _plain(_chosen(points, seconds, law_fitter(shape, dtype, devices, waits=waits)))

    given = (points, seconds, asdict(shape), dtype, devices, waits)
    found = kept("fits", given, code_digest(CODE, SOLVERS), calculate)
    return _restored(found, shape, dtype, devices, waits=waits)


def _chosen(points: Sequence[PassShape], seconds: Sequence[float], law: Fitter) -> ChosenFit:
    measured = np.asarray(seconds, dtype=np.float64)
    fitters: dict[str, Fitter] = {"law": law, "interpolation": fit_table}
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
    plain: dict[str, Any], shape: ModelShape, dtype: str, devices: int, *, waits: bool
) -> ChosenFit:
    fit: PassFit
    if law := plain.get(Law.name):
        costs = _unit_costs(shape, dtype, devices, law["ratio"])
        fit = Law(costs, law["ratio"], law["coefficients"], waits)
    else:
        table = plain[MonotoneTable.name]
        fit = MonotoneTable(table["tokens"], table["knots"], np.array(table["table"]))
    errors = {name: HeldOut(tuple(found)) for name, found in plain["held_out"].items()}
    return ChosenFit(fit, errors, tuple(plain["residuals"]))
