"""What the host takes between operations, by a profile: its handling of what ended, and hops of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.costs.profiled.fits import CODE, SOLVERS
from spinsim.costs.profiled.profile import Point, Profile
from spinsim.user_cache import code_digest, kept

# A plan in a run over one of many in a row: code and data have left the CPU's caches, and the thread slept.
AFTER_WORK = 1.45  # SPIN's decomposed rounds on two H200s: 1.42 to 1.55


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
    """Of a packing that is searched for: seconds of a plan, and seconds by the root of its K/V tokens.

    Neither is negative. What is tried are piece lengths, and a context of l tokens has some 2 sqrt(l) that
    differ: one for each value of ceil(l / p). Least squares of seconds, not relative: plans of few tokens are
    met again, take next to nothing, and count as little in a run. Plans that were made back to back, as
    profiles have them that do not say what came before (``after_s``), take :data:`AFTER_WORK` as long in a
    run.
    """
    points = [point for point in profile.of_operation("planning") if point.packing == packing]
    if not points:
        return None

    def calculate() -> dict[str, Any]:
        from scipy.optimize import nnls  # takes 0.3 s to load

        seconds = [point.seconds * (1 if "after_s" in point.features else AFTER_WORK) for point in points]
        matrix = np.array([[1.0, point.features["kv_tokens"] ** 0.5] for point in points])
        return {"line": nnls(matrix, np.array(seconds))[0].tolist()}

    seen = [[point.seconds, point.features] for point in points]
    fixed, each = kept("planning", seen, code_digest(CODE, SOLVERS), calculate)["line"]
    return fixed, each


def hop_of(profile: Profile) -> float | None:
    """Seconds from thread to thread, one way.

    Of a handover within a run it is half of what neither handling nor threads' waits for each other explain:
    the engine's thread goes on after it has submitted, and holds up the worker. Alone, as older profiles have
    it, a hop is shorter.
    """
    seen = profile.of_operation("handover")
    if not seen:
        hops = [point.seconds for point in profile.of("hop")]
        return float(np.median(hops)) if hops else None
    waited = wake_of(profile) * (_operations(profile, seen) - 1)
    halves = np.array([(point.seconds - point.features["handled_s"]) / 2 for point in seen]) - waited / 2
    weights = np.array([point.repetitions for point in seen])
    order = np.argsort(halves)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return max(0.0, float(halves[order][middle]))


def wake_of(profile: Profile) -> float:
    """Seconds that an operation begins later for each that was submitted before it, of those that one end led
    to; 0 where a profile does not tell how many there were.

    The threads of the lanes need the interpreter one after the other. Least squares over handovers of what is
    no handling, not negative: two hops, and so much for each further operation. A handover is the mean of its
    operations' starts. In a run they all wait until the engine's thread has submitted the last one, which so
    begins when it is told, and the others by up to their submissions later.
    """
    seen = profile.of_operation("handover")
    further = _operations(profile, seen) - 1
    if not len(seen) or not further.any():
        return 0.0

    def calculate() -> dict[str, Any]:
        from scipy.optimize import nnls  # takes 0.3 s to load

        weights = np.sqrt([point.repetitions for point in seen])
        gaps = np.array([max(0.0, point.seconds - point.features["handled_s"]) for point in seen])
        matrix = np.stack([np.ones(len(seen)), further], axis=1)
        return {"line": nnls(matrix * weights[:, None], gaps * weights)[0].tolist()}

    points = [[point.seconds, point.features, point.repetitions] for point in seen]
    return float(kept("wake", [points, further.tolist()], code_digest(CODE, SOLVERS), calculate)["line"][1])


def _operations(profile: Profile, handovers: Sequence[Point]) -> Any:
    """How many operations followed in the mean, by the points of handling of the same ends ``[N]``; 1 where
    they do not say."""
    ends: dict[tuple[str, str, int], int] = {}
    followed: dict[tuple[str, str, int], float] = {}
    for point in profile.of_operation("handling"):
        end, operations = _end(point), point.features.get("operations", 1.0)
        ends[end] = ends.get(end, 0) + point.repetitions
        followed[end] = followed.get(end, 0.0) + operations * point.repetitions
    return np.array(
        [followed[end] / ends[end] if (end := _end(point)) in ends else 1.0 for point in handovers]
    )


def _end(point: Point) -> tuple[str, str, int]:
    """Of which kind of end a point is, with which selector, and up to how many rows."""
    return point.kind, point.policy, int(point.features["rows"]).bit_length()
