"""What the host takes between operations, by a profile: its handling of what ended, and hops of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.costs.profiled.fits import CODE, SOLVERS
from spinsim.costs.profiled.profile import Point, Profile
from spinsim.user_cache import code_digest, kept


class Handling(NamedTuple):
    """``lines``: by kind of the operation that ended, seconds and seconds a row. ``submit_s``: besides, for
    each operation that it leads to. None is negative."""

    lines: Mapping[str, tuple[float, float]]
    submit_s: float


def handling_of(profile: Profile, selector: str) -> Handling:
    """Of ``selector``, or of the first selector in the file where that one was not measured.

    Least squares of relative errors, of all kinds together. Profiles from before do not say how many
    operations followed: there ``submit_s`` is 0.
    """
    points = profile.of("handling")
    if points and all(point.policy != selector for point in points):
        selector = points[0].policy
    points = tuple(point for point in points if point.policy == selector)
    if not points:
        return Handling({}, 0.0)
    kinds = list(dict.fromkeys(point.kind for point in points))  # others never led to anything

    def calculate() -> dict[str, Any]:
        if _told_apart(points):
            return _fitted(points, kinds, told=True)._asdict()
        apart = [_fitted([p for p in points if p.kind == kind], [kind], told=False).lines for kind in kinds]
        return Handling({kind: line for lines in apart for kind, line in lines.items()}, 0.0)._asdict()

    seen = [[point.kind, point.seconds, point.features, point.repetitions] for point in points]
    found = kept("handling", seen, code_digest(CODE, SOLVERS), calculate)
    return Handling(
        {kind: (fixed, each) for kind, (fixed, each) in found["lines"].items()}, found["submit_s"]
    )


def _fitted(points: Sequence[Point], kinds: Sequence[str], *, told: bool) -> Handling:
    """``told``: with a term for each operation that followed."""
    from scipy.optimize import nnls  # takes 0.3 s to load

    matrix = np.zeros((len(points), 2 * len(kinds) + told))
    for row, point in zip(matrix, points, strict=True):
        at = 2 * kinds.index(point.kind)
        row[at : at + 2] = 1.0, point.features["rows"]
        if told:
            row[-1] = point.features.get("operations", 1.0)
    seconds = np.array([point.seconds for point in points])
    # Relative errors count, weighed by how many were seen: a rare number of rows says little.
    weight = np.sqrt([point.repetitions for point in points]) / seconds
    found = [float(value) for value in nnls(matrix * weight[:, None], seconds * weight)[0]]
    lines = {kind: (found[2 * at], found[2 * at + 1]) for at, kind in enumerate(kinds)}
    return Handling(lines, found[-1] if told else 0.0)


def _told_apart(points: Sequence[Point]) -> bool:
    """Did the end of one kind of operation lead to more operations here than there?"""
    counts: dict[str, set[float]] = {}
    for point in points:
        counts.setdefault(point.kind, set()).add(point.features.get("operations", 0.0))
    return any(len(found) > 1 for found in counts.values())


def planning_of(profile: Profile, packing: str) -> tuple[float, float] | None:
    """Of a packing that is searched for: seconds of a plan, and seconds a K/V token, neither negative."""
    points = [point for point in profile.of_operation("planning") if point.packing == packing]
    if not points:
        return None

    def calculate() -> dict[str, Any]:
        from scipy.optimize import nnls  # takes 0.3 s to load

        seconds = np.array([point.seconds for point in points])
        matrix = np.array([[1.0, point.features["kv_tokens"]] for point in points]) / seconds[:, None]
        return {"line": nnls(matrix, np.ones(len(points)))[0].tolist()}

    seen = [[point.seconds, point.features] for point in points]
    fixed, each = kept("planning", seen, code_digest(CODE, SOLVERS), calculate)["line"]
    return fixed, each


def hop_of(profile: Profile) -> float | None:
    """Seconds from thread to thread, one way.

    Of a handover within a run it is half of what handling does not explain: the engine's thread goes on after
    it has submitted, and holds up the worker. Alone, as older profiles have it, a hop is shorter.
    """
    seen = profile.of_operation("handover")
    if not seen:
        hops = [point.seconds for point in profile.of("hop")]
        return float(np.median(hops)) if hops else None
    halves = np.array([(point.seconds - point.features["handled_s"]) / 2 for point in seen])
    weights = np.array([point.repetitions for point in seen])
    order = np.argsort(halves)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return max(0.0, float(halves[order][middle]))
