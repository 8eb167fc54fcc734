"""What the host takes between operations, by a profile: its handling of what ended, and hops of threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinsim.costs.profiled.fits import CODE, SOLVERS
from spinsim.costs.profiled.profile import Point, Profile
from spinsim.user_cache import code_digest, kept


def handling_of(profile: Profile, selector: str) -> dict[str, tuple[float, float]]:
    """By kind of the operation that ended: seconds, and seconds a row, neither negative.

    Of ``selector``, or of the first selector in the file where that one was not measured.
    """
    points = profile.of("handling")
    if points and all(point.policy != selector for point in points):
        selector = points[0].policy
    of_kind = {
        kind: [point for point in points if (point.kind, point.policy) == (kind, selector)]
        for kind in dict.fromkeys(point.kind for point in points)
    }
    seen = [
        [kind, point.seconds, point.features["rows"], point.repetitions]
        for kind in of_kind
        for point in of_kind[kind]
    ]
    if not seen:
        return {}
    found = kept("handling", seen, code_digest(CODE, SOLVERS), lambda: _lines(of_kind))
    return {kind: (fixed, each) for kind, (fixed, each) in found.items()}


def _lines(of_kind: dict[str, list[Point]]) -> dict[str, Any]:
    from scipy.optimize import nnls  # takes 0.3 s to load

    found: dict[str, Any] = {}
    for kind, mine in of_kind.items():
        if not mine:  # it never led to anything with this selector
            continue
        seconds = np.array([point.seconds for point in mine])
        matrix = np.array([[1.0, point.features["rows"]] for point in mine])
        # Relative errors count, weighed by how many were seen: a rare number of rows says little.
        weight = np.sqrt([point.repetitions for point in mine]) / seconds
        (fixed, each), _ = nnls(matrix * weight[:, None], seconds * weight)
        found[kind] = float(fixed), float(each)
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
