"""How much two busy lanes of one GPU slow each other down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spinsim.costs.profiled.profile import Point
from spinsim.operations import Completed
from spinsim.profiling.bench import USUAL_LENGTH, Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.timing import Effort, repeated, timing_of


def shared_device(bench: Bench, draft: int) -> bool:
    """Do the target's lane and this draft's run on one device, as two lanes?"""
    target, other = bench.target_lane, bench.draft_lanes[draft]
    return target != other and bool(set(bench.lanes[target].devices) & set(bench.lanes[other].devices))


def usual_pairs(probes: Sequence[Probe], packing: str, draft: int) -> list[tuple[Probe, Probe]]:
    """A verification and a proposal of ``draft``, of as many rows, at middling rows and contexts.

    How much a draft suffers grows with the verification beside it: the extremes would speak for few rounds.
    """
    verifies = [p for p in probes if p.operation == "verify" and p.packing == packing and p.tokens > 1]
    steps = [p for p in probes if p.operation == "draft_step" and p.draft == draft]
    common = sorted({p.rows for p in verifies} & {p.rows for p in steps})
    pairs = []
    for rows in common[max(0, len(common) // 2 - 1) :][:2]:
        verify = min((p for p in verifies if p.rows == rows), key=lambda p: abs(p.tokens - USUAL_LENGTH - 1))
        alike = [p for p in verifies if (p.rows, p.tokens, p.piece) == (rows, verify.tokens, verify.piece)]
        mine = [p for p in steps if p.rows == rows and p.tokens == min(q.tokens for q in steps)]
        pairs.append((_middling(alike), _middling(mine)))
    return pairs


def _middling(probes: Sequence[Probe]) -> Probe:
    return sorted(probes, key=lambda probe: probe.context)[len(probes) // 2]


def slowdown_points(
    bench: Bench, model: str, verify: Probe, propose: Probe, effort: Effort
) -> Iterator[Point]:
    """The same two calls, first alone and then beside each other: a point for each lane.

    ``model`` is the profile's name of the draft.

    Both queues are kept full for the same time; only calls that ran wholly within the other lane's busy
    time count.
    """
    lanes = [bench.lane_of(verify), bench.lane_of(propose)]
    calls = [bench.call(verify), bench.call(propose)]
    # Back to back, as they run beside each other.
    alone = [
        repeated(lambda at=at: bench.stamps(lanes[at], "alone", calls[at]).seconds, effort).seconds  # type: ignore[misc]
        for at in (0, 1)
    ]
    fill = max(effort.seconds, effort.fewest * max(alone))
    counts = [max(effort.fewest, round(fill / seconds)) for seconds in alone]
    numbers: list[dict[int, Completed]] = [{}, {}]
    owner = {}
    for turn in range(max(counts)):
        for side in (0, 1):
            if turn < counts[side]:
                owner[bench.submit(lanes[side], "beside", calls[side])] = side
    for _ in range(sum(counts)):
        number, done = bench.next_completed()
        numbers[owner[number]][number] = done
    for side in (0, 1):
        own, other = numbers[side].values(), numbers[1 - side].values()
        begin, end = min(d.started_ns for d in other), max(d.finished_ns for d in other)
        inside = [
            (d.finished_ns - d.started_ns) * 1e-9
            for d in own
            if d.started_ns >= begin and d.finished_ns <= end
        ]
        if inside:
            timing = timing_of(inside)
            features = {"target_lane": float(side == 0), "alone_s": alone[side]}
            yield Point("lane_slowdown", timing.seconds, timing.spread_s, timing.repetitions, features, model)
