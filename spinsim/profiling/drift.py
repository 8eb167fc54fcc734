"""Some points of a profile measured again: is this still the machine that was profiled?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spinsim.costs.profiled.profile import Profile
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort

TOLERANCE = 0.03  # a machine that moved by more is not the one that was profiled


@dataclass(frozen=True, slots=True)
class Again:
    """One point measured again."""

    operation: str
    model: str
    packing: str
    profiled_s: float
    seconds: float

    @property
    def factor(self) -> float:
        """Again over profiled."""
        return self.seconds / self.profiled_s


@dataclass(frozen=True)
class Drift:
    """Points measured again, and by operation the median factor; ``host``: those of hops and handling."""

    points: tuple[Again, ...]
    host: Mapping[str, float] = field(default_factory=dict)

    @property
    def factors(self) -> dict[str, float]:
        """By operation, the median of again over profiled, and those of the host."""
        by: dict[str, list[float]] = {}
        for point in self.points:
            by.setdefault(point.operation, []).append(point.factor)
        return {operation: float(np.median(factors)) for operation, factors in by.items()} | dict(self.host)

    @property
    def moved(self) -> tuple[Again, ...]:
        """Those beyond the tolerance."""
        return tuple(point for point in self.points if abs(point.factor - 1) > TOLERANCE)


def drifted(
    profile: Profile,
    bench: Bench,
    probes: Sequence[Probe],
    effort: Effort,
    *,
    per_fit: int = 1,
    most: int | None = None,
) -> Drift:
    """Measure again ``per_fit`` profiled probes of every operation of every model, ``most`` in all.

    Those of middling time are chosen: the shortest tell of the host alone, and the longest are rare. A model
    that the profile has under another name has none.
    """
    known = {point.identity: point for point in profile.points}
    groups: dict[tuple[str, str, str], list[Probe]] = {}
    for probe in probes:
        if probe.identity not in known:
            continue
        if not profile.passes_over(probe.operation, probe.model, probe.features):
            groups.setdefault((probe.operation, probe.packing, probe.model), []).append(probe)
    chosen: list[Probe] = []
    for group in groups.values():
        group.sort(key=lambda probe: known[probe.identity].seconds)
        count = min(per_fit, len(group))
        chosen += [group[(2 * i + 1) * len(group) // (2 * count)] for i in range(count)]
    if most is not None and len(chosen) > most:
        # Every operation before a second model of one.
        order: dict[str, int] = {}
        ranked = []
        for probe in chosen:
            turn = order[probe.operation] = order.get(probe.operation, -1) + 1
            ranked.append((turn, probe))
        chosen = [probe for _, probe in sorted(ranked, key=lambda item: item[0])[:most]]
    points = []
    for probe in chosen:
        before = known[probe.identity]
        timing = bench.measure(probe, effort)
        points.append(Again(probe.operation, probe.model, probe.packing, before.seconds, timing.seconds))
    return Drift(tuple(points))
