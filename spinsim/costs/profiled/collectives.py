"""All-reduces as a profile measured them: a law for each algorithm, and its errors on what it did not see."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.costs.collectives import Collective, Interconnect, fitted
from spinsim.costs.profiled.profile import Profile
from spinsim.costs.sheets.hardware import Hardware

Sums = list[tuple[float, float]]  # (bytes, seconds)


def measured_sums(profile: Profile, devices: int) -> dict[str, Sums]:
    """By algorithm, of as many devices; those of two sizes or more, through which a law can be laid."""
    found: dict[str, Sums] = {}
    for point in profile.points:
        if point.operation == "all_reduce" and point.features["devices"] == devices:
            found.setdefault(point.kind, []).append((point.features["bytes"], point.seconds))
    return {algorithm: sums for algorithm, sums in found.items() if len({size for size, _ in sums}) > 1}


def fitted_collectives(profile: Profile, hardware: Hardware, devices: int) -> tuple[Collective, ...]:
    """The law of each algorithm over ``devices``; none where the profile did not measure as many."""
    link = hardware.interconnect
    return tuple(
        fitted(algorithm, sums, devices, link.bandwidth, link.step_s)
        for algorithm, sums in measured_sums(profile, devices).items()
    )


def held_out_sums(sums: Sequence[tuple[float, float]], algorithm: str, devices: int) -> list[float]:
    """Relative errors of each all-reduce by a law through the others; none where those are of one size."""
    errors = []
    for at, (size, seconds) in enumerate(sums):
        rest = [*sums[:at], *sums[at + 1 :]]
        if len({other for other, _ in rest}) < 2:
            continue
        law = fitted(algorithm, rest, devices, 1.0, 0.0)
        errors.append(Interconnect(1.0, 0.0, (law,)).all_reduce_s(size, devices, normed=True) / seconds - 1.0)
    return errors
