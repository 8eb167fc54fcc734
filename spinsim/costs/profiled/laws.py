"""Laws of a measured pass, of the roofline's form: coefficients of what the model's operators move and
multiply, by nonnegative least squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from spinsim.buckets import LONG_QUERY
from spinsim.costs.collectives import RING, Collective
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.sheets.hardware import RIDGE, Hardware
from spinsim.costs.sheets.shapes import ModelShape

Array = NDArray[np.float64]

RATIOS = tuple(float(r) for r in np.geomspace(4.0, 4000.0, 31))  # flops a byte: CPUs to tensor cores
# A K/V token of one row by itself, over one among many rows': a program has a share of the device.
ALONE = tuple(float(a) for a in np.geomspace(0.1, 100.0, 16))


class PassFit(Protocol):
    """Seconds of a pass, nondecreasing in tokens and in KV tokens."""

    name: str

    def predict(self, shape: PassShape) -> float: ...

    def plain(self) -> dict[str, Any]:
        """What JSON can hold of it, without the costs of the model's shape."""
        ...


Fitter = Callable[[Sequence[PassShape], Array], PassFit]
Waits = Literal["", "prompts", "pieces", "rows"]  # see :func:`waited_for`


class Law:
    """overhead + a * operators + b * attention + c * tokens + d * rows + e * context, none negative.

    Operators and attention are sums of max(bytes, flops / ratio) of the model's shape (matrix products with
    the ridge of GPUs' sheets), so that a is the inverse of an achieved bandwidth and a / ratio that of an
    achieved rate. Context counts as :func:`waited_for` says.
    """

    name = native = "law"

    def __init__(
        self, costs: PassCosts, ratio: float, coefficients: Sequence[float], waits: Waits, alone: float = 0.0
    ) -> None:
        self.ratio, self.alone = ratio, alone
        self.coefficients = tuple(float(c) for c in coefficients)
        self.costs, self.waits = costs, waits
        self._alone_s = alone * costs.attention.kv_s
        self._fixed: dict[tuple[float, float], float] = {}

    def plain(self) -> dict[str, Any]:
        """Without the costs of the model's shape."""
        return {"ratio": self.ratio, "coefficients": self.coefficients, "alone": self.alone}

    def predict(self, shape: PassShape) -> float:
        """Seconds of a pass."""
        _, _, attention, _, row, context = self.coefficients
        fixed = self._fixed.get((shape.tokens, shape.head))
        if fixed is None:
            fixed = self._fixed[shape.tokens, shape.head] = self.fixed(shape.tokens, shape.head)
        read = self.costs.attention.seconds(shape.kv_tokens, shape.queries, shape.pairs)
        waited = waited_for(shape, self.waits)
        read = max(read, self._alone_s * waited)
        return fixed + attention * read + row * shape.rows + context * waited

    def fixed(self, tokens: float, head: float) -> float:
        """Seconds of what depends on tokens, and on positions with logits, alone."""
        overhead, operators, _, token, _, _ = self.coefficients
        work = self.costs.body(int(tokens)) + self.costs.output(int(head))
        return overhead + operators * work + token * tokens


class LongestRowLaw(Law):
    """As :class:`Law`, with attention = max(of all rows, ``alone`` * K/V that one row reads by itself).

    Programs of a kernel that cuts no row's K/V run side by side: a pass takes what all rows' K/V take, or
    what its longest row takes in its one program, whichever is more. e is 0.
    """

    name = "law of the longest row"


class RowLaw(Law):
    """As :class:`Law`, where a K/V token of few rows takes longer than one of many ("rows").

    The kernel of few new tokens cuts rows' K/V into parts, which run side by side. The parts of few rows do
    not fill the device, and those of one row are put together one after the other.
    """

    name = "law of few rows"
    native = "law"


LAWS = {law.name: law for law in (Law, LongestRowLaw, RowLaw)}


def waited_for(shape: PassShape, waits: Waits) -> float:
    """K/V tokens that one row reads one after the other while the rest of the device has nothing to do.

    The kernel of many new tokens (``waits`` "prompts": prefill, catch-up) does not cut a row's K/V, so that a
    pass of few rows takes as long as its longest row's context, however little is read in all. Nor does
    that of padded or decomposed verifications cut a piece ("pieces"). Draft steps and ragged verifications
    wait for the mean row, in part: see :class:`RowLaw` ("rows").
    """
    if not waits or (waits == "prompts" and shape.tokens < LONG_QUERY):
        return 0.0
    return shape.longest or shape.kv_tokens / shape.rows


def unit_costs(shape: ModelShape, dtype: str, devices: int, ratio: float) -> PassCosts:
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
        ridge=RIDGE,
    )
    return PassCosts(shape, dtype, unit, devices=devices)


def law_fitter(
    shape: ModelShape, dtype: str, devices: int = 1, *, waits: Waits = "", few_rows: bool = False
) -> Fitter:
    """Fits :class:`Law` by nonnegative least squares on relative errors, for the best of many ratios.

    Verifications and draft steps have no term of the context (e), but with ``few_rows``: :class:`RowLaw`.
    """
    candidates = [(ratio, unit_costs(shape, dtype, devices, ratio)) for ratio in RATIOS]
    known: dict[PassShape, Array] = {}  # a point's row of the matrix of every candidate
    made = RowLaw if few_rows else Law
    waits = waits if few_rows or waits == "prompts" else ""

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
        matrices = np.stack([rows(point) for point in points], axis=1)
        index, found = _best(matrices, seconds)
        ratio, costs = candidates[index]
        return made(costs, ratio, found, waits)

    return fit


def longest_row_fitter(shape: ModelShape, dtype: str, devices: int = 1, *, waits: Waits) -> Fitter:
    """Fits :class:`LongestRowLaw`, for the best of many ratios with each of many values of ``alone``."""
    unit = [unit_costs(shape, dtype, devices, ratio) for ratio in RATIOS]
    known: dict[
        PassShape, tuple[Array, float]
    ] = {}  # a point's rows by ratio, and what it waits for, in bytes

    def rows(point: PassShape) -> tuple[Array, float]:
        found = known.get(point)
        if found is None:
            features = []
            for costs in unit:
                work = costs.body(int(point.tokens)) + costs.output(int(point.head))
                read = costs.attention.seconds(point.kv_tokens, point.queries, point.pairs)
                features.append([1.0, work, read, point.tokens, point.rows, 0.0])
            waited = unit[0].attention.kv_s * waited_for(point, waits)
            found = known[point] = np.array(features), waited
        return found

    def fit(points: Sequence[PassShape], seconds: Array) -> PassFit:
        of_all = np.stack([rows(point)[0] for point in points], axis=1)
        waited = np.array([rows(point)[1] for point in points])

        def best(steps: Sequence[float], ratios: slice) -> tuple[int, list[float]]:
            """Among ``steps`` of ``alone``, each with every one of ``ratios``."""
            candidates = []
            for alone in steps:
                matrices = of_all[ratios].copy()
                matrices[:, :, 2] = np.maximum(matrices[:, :, 2], alone * waited)
                candidates.append(matrices)
            return _best(np.concatenate(candidates), seconds)

        at, _ = best(ALONE, slice(None))
        coarse, ratio = divmod(at, len(RATIOS))
        near = [float(a) for a in ALONE[coarse] * np.geomspace(0.63, 1.6, 17)]  # up to the next ones
        at, found = best(near, slice(ratio, ratio + 1))
        return LongestRowLaw(unit[ratio], RATIOS[ratio], found, waits, near[at])

    return fit


def _best(matrices: Array, seconds: Array) -> tuple[int, list[float]]:
    """Of candidates' features ``[C, N, F]``, which fits ``seconds`` best, and its coefficients ``[F]``."""
    from scipy.optimize import nnls  # takes 0.3 s to load, and kept fits do without

    scales = matrices.max(axis=1)
    scales[scales == 0] = 1.0
    matrices = matrices / scales[:, None] / seconds[:, None]
    ones = np.ones(len(seconds))
    best: tuple[float, int, Array] | None = None
    for index, matrix in enumerate(matrices):
        found, residual = nnls(matrix, ones)
        if best is None or residual < best[0]:
            best = float(residual), index, found
    assert best is not None
    _, index, found = best
    return index, (found / scales[index]).tolist()
