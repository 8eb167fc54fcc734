"""How much the busy lanes of one device slow each other down.

Subsets of the operations that lanes of a device run are kept running side by side. What each then takes,
and its time alone, is what the law of contention is fitted to (:mod:`spinsim.costs.contention_fit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from spinsim.costs.contention import Demand, Loads
from spinsim.costs.profiled.profile import Point
from spinsim.engine.world import NS
from spinsim.packings import packing_kind
from spinsim.profiling.bench import PIECE, Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort, Timing, timing_of

AHEAD = 3  # jobs that a lane has queued, so that it never waits for the thread that submits
Call = Callable[[], Any]


def probes_of(
    models: Sequence[str], target: str, rows: int, context: int, length: int, packing: str
) -> list[Probe]:
    """A verification by ``target`` and a proposal of every draft, whose profile keys are ``models``."""
    piece = PIECE if packing_kind(packing).divided else 0
    verify = Probe("verify", target, -1, rows, length + 1, context, packing, piece)
    return [
        verify,
        *(
            Probe("draft_step", model, draft, rows, 1 if length > 1 else 2, context, proposal=length)
            for draft, model in enumerate(models)
        ),
    ]


def shared_subsets(bench: Bench, probes: Sequence[Probe]) -> list[list[Probe]]:
    """Of the probes whose lanes share a device: pairs, those of one kind and model once; all drafts; all.

    Larger subsets tell whether what neighbours do adds up.
    """
    subsets: dict[tuple[tuple[str, str], ...], list[Probe]] = {}
    devices = dict.fromkeys(device for lane in bench.lanes for device in lane.devices)
    for device in devices:
        here = [probe for probe in probes if device in bench.lanes[bench.lane_of(probe)].devices]
        drafts = [probe for probe in here if probe.draft >= 0]
        for subset in (*combinations(here, 2), drafts, here):
            lanes = {bench.lane_of(probe) for probe in subset}
            if len(subset) > 1 and len(lanes) == len(subset):
                alike = tuple(sorted((probe.operation, probe.model) for probe in subset))
                subsets.setdefault(alike, list(subset))
    return list(subsets.values())


def demand_of(loads: Loads, probe: Probe, alone_s: float) -> Demand:
    """The probe's operation as the lanes beside it notice it."""
    if probe.operation == "verify":
        return Demand(-1, alone_s, *loads.verify(probe.plan))
    lengths = [probe.steps] * probe.rows
    return Demand(probe.draft, alone_s, *loads.propose(probe.draft, lengths, probe.contexts))


def kept_busy(bench: Bench, calls: Sequence[tuple[int, Call]], effort: Effort) -> list[Timing]:
    """What each call takes while all lanes are kept busy, each with its own (lane, call).

    Back to back: lanes have work queued all the time. Only calls that began after every lane was warm, and
    ended while all were at work, count.
    """
    owner: dict[int, int] = {}
    spans: list[list[tuple[int, int]]] = [[] for _ in calls]
    begin = end = 0

    def submit(at: int) -> None:
        lane, call = calls[at]
        owner[bench.submit(lane, "beside", call)] = at

    def inside(at: int) -> list[float]:
        return [(b - a) / NS for a, b in spans[at] if a >= begin and (not end or b <= end)]

    for _ in range(AHEAD):
        for at in range(len(calls)):
            submit(at)
    while owner:
        number, completed = bench.next_completed()
        at = owner.pop(number)
        spans[at].append((completed.started_ns, completed.finished_ns))
        if not begin and all(len(mine) > effort.warm for mine in spans):
            begin = max(mine[effort.warm][0] for mine in spans)
        long_enough = begin and completed.finished_ns - begin >= effort.seconds * NS
        if long_enough and not end and all(len(inside(i)) >= effort.fewest for i in range(len(calls))):
            end = max(mine[-1][1] for mine in spans)
        if not end:
            submit(at)
    return [timing_of(inside(at)) for at in range(len(calls))]


def beside_points(
    bench: Bench, loads: Loads, subset: Sequence[Probe], group: int, effort: Effort, alone: dict[Probe, float]
) -> Iterator[Point]:
    """A point for every lane of the subset. ``alone`` keeps what was measured alone, for further subsets."""
    calls = [(bench.lane_of(probe), bench.call(probe)) for probe in subset]
    for probe, call in zip(subset, calls, strict=True):
        if probe not in alone:
            (timing,) = kept_busy(bench, [call], effort)
            alone[probe] = timing.seconds
    for lane, (probe, found) in enumerate(zip(subset, kept_busy(bench, calls, effort), strict=True)):
        demand = demand_of(loads, probe, alone[probe])
        features = {
            "group": float(group),
            "lane": float(lane),
            "rows": float(probe.rows),
            "alone_s": demand.seconds,
            "kernels": demand.kernels,
            "work_s": demand.work_s,
        }
        yield Point("beside", found.seconds, found.spread_s, found.repetitions, features, probe.model)


def usual_rows(batch: int) -> tuple[int, ...]:
    """Rows at which lanes are measured side by side: a round's share of a batch, and half of the batch."""
    return tuple(sorted({max(1, batch // 8), max(1, batch // 2)}))
