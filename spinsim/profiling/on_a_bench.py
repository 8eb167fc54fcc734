"""Operations of a profile as a bench sees them: back to back, K/V in order, no page table written.

A profile is measured as a run is. These points say how far the two are apart on this machine; costs charge
nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spinsim.costs.profiled.profile import Point, Profile
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort, timing_of

KIND_OF = {"draft_step": "propose"}  # an operation of the engine, where a profile names it otherwise


def bench_points(profile: Profile, bench: Bench, probes: Sequence[Probe], effort: Effort) -> Iterator[Point]:
    """Of each operation that was measured, the probes of middling and of longest time, on a bench."""
    known = {point.identity: point for point in profile.points}
    groups: dict[tuple[str, str, str], list[Probe]] = {}
    for probe in probes:
        if probe.identity in known:
            groups.setdefault((probe.operation, probe.model, probe.part), []).append(probe)
    bench.share(scattered=False)
    for group in groups.values():
        group.sort(key=lambda probe: known[probe.identity].seconds)
        for probe in dict.fromkeys((group[len(group) // 2], group[-1])):
            timing = timing_of(bench.samples(probe, effort, alone=True))
            features = {"rows": float(probe.rows), "in_run_s": known[probe.identity].seconds}
            kind = KIND_OF.get(probe.operation, probe.operation)
            yield Point(
                "bench", timing.seconds, timing.spread_s, timing.repetitions, features, probe.model, kind=kind
            )
    bench.share()
