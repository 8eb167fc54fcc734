"""What the host takes between operations, by a profile: its handling of what ended, and hops of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from spinsim.costs.profiled.profile import Point, Profile


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
    if _told_apart(points):
        return _fitted(points, kinds)
    return Handling(
        {
            kind: _fitted([point for point in points if point.kind == kind], [kind], told=False).lines[kind]
            for kind in kinds
        },
        0.0,
    )


def _fitted(points: Sequence[Point], kinds: Sequence[str], *, told: bool = True) -> Handling:
    """``told``: with a term for each operation that followed."""
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


def planning_of(profile: Profile) -> dict[str, tuple[float, float]]:
    """By packing that is searched for: seconds of a plan, and seconds a K/V token, neither negative."""
    points = profile.of_operation("planning")
    found: dict[str, tuple[float, float]] = {}
    for packing in dict.fromkeys(point.packing for point in points):
        mine = [point for point in points if point.packing == packing]
        seconds = np.array([point.seconds for point in mine])
        matrix = np.array([[1.0, point.features["kv_tokens"]] for point in mine]) / seconds[:, None]
        (fixed, each), _ = nnls(matrix, np.ones(len(mine)))
        found[packing] = float(fixed), float(each)
    return found


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
