"""What a profile has measured of drafters that are no models: lookups on its host, heads on its GPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from spinsim.costs.profiled.profile import Point, Profile, read_profile
from spinsim.scenario import ProfileCosts, Scenario


def points_of(scenario: Scenario, base_dir: Path | None, operation: str, kind: str) -> tuple[Point, ...]:
    """The points of the scenario's profile, where costs come from one. ``kind``: see the profile's format."""
    costs = scenario.costs
    if not isinstance(costs, ProfileCosts):
        return ()
    path = (base_dir or Path()) / costs.path
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return ()  # whoever prices the models says so
    return tuple(point for point in _read(path, changed).of(operation) if point.kind == kind)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Profile:
    return read_profile(path)


def law(points: Sequence[Point], terms: Sequence[Sequence[float]]) -> list[float]:
    """Non-negative factors of ``terms`` (a row a point) whose sum is nearest to the points, relatively."""
    from scipy.optimize import nnls  # takes a while to load, and most scenarios do without

    seconds = np.array([point.seconds for point in points])
    factors, _ = nnls(np.array(terms) / seconds[:, None], np.ones(len(points)))
    return [float(factor) for factor in factors]
