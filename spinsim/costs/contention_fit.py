"""The law of contention, fitted to what a profile measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any, NamedTuple

import numpy as np

from spinsim.costs.contention import USUAL_LAW, Demand, KernelLaw
from spinsim.costs.profiled.fits import CODE, SOLVERS
from spinsim.costs.profiled.profile import Profile
from spinsim.user_cache import code_digest, kept

# A parameter twice the usual one counts as much as one time that is off by so much: what few measured pairs
# cannot tell stays as usual.
_PRIOR = 0.02

# Where the search begins, as multiples of the usual law: where a kernel waits for a whole one of its
# neighbour, or for none, a little more or less of ``short_s`` and ``wait`` changes nothing.
_STARTS = ((1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.5, 0.4))


class Group(NamedTuple):
    """Operations that were kept running on lanes of one device, and how long each then took (seconds)."""

    demands: tuple[Demand, ...]
    seconds: tuple[float, ...]


def groups_of(profile: Profile) -> list[Group]:
    """What was measured side by side, in the file's order."""
    found: dict[float, list[tuple[Demand, float]]] = {}
    for point in profile.points:
        if point.operation == "beside":
            f = point.features
            demand = Demand(0, f["alone_s"], f["kernels"], f["work_s"])
            found.setdefault(f["group"], []).append((demand, point.seconds))
    return [Group(*zip(*members, strict=True)) for members in found.values()]


def errors(law: KernelLaw, group: Group) -> list[float]:
    """Relative errors of the times that ``law`` predicts for a group."""
    slow = law.slowdowns(group.demands)
    return [
        demand.seconds * factor / seconds - 1.0
        for demand, factor, seconds in zip(group.demands, slow, group.seconds, strict=True)
    ]


def fit_law(groups: Sequence[Group]) -> KernelLaw:
    """Least squares on the logarithms of times. The usual law where nothing was measured."""
    if not groups:
        return USUAL_LAW
    found = kept("contention", groups, code_digest(CODE, SOLVERS), lambda: asdict(_fitted(groups)))
    return KernelLaw(**found)


def _fitted(groups: Sequence[Group]) -> KernelLaw:
    from scipy.optimize import least_squares  # takes 0.3 s to load

    usual = np.array(astuple(USUAL_LAW))

    def residuals(scale: Any) -> Any:
        law = KernelLaw(*(scale * usual).tolist())
        wrong = [error for group in groups for error in errors(law, group)]
        return np.concatenate((np.log1p(wrong), _PRIOR * (scale - 1.0)))

    found = min(
        (least_squares(residuals, start, bounds=(0.0, np.inf)) for start in _STARTS),
        key=lambda one: float(one.cost),
    )
    return KernelLaw(*(found.x * usual).tolist())


def held_out(groups: Sequence[Group]) -> list[float]:
    """Relative errors on every group, by the law that the others give. Empty for fewer than two groups."""
    if len(groups) < 2:
        return []
    return [
        error
        for i, group in enumerate(groups)
        for error in errors(fit_law([*groups[:i], *groups[i + 1 :]]), group)
    ]
