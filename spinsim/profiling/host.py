"""The host between operations: thread hops, and ids on their way."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from spinsim.costs.links import ID_BYTES, PROBABILITY_BYTES
from spinsim.costs.profiled.profile import Point
from spinsim.engine.world import NS
from spinsim.live.executor import gather
from spinsim.live.quiet_interpreter import quiet
from spinsim.live.world import Proposed
from spinsim.packings.base import PackingPolicy
from spinsim.profiling.bench import Bench
from spinsim.profiling.timing import Effort, Timing, repeated, timing_of

HOPS = 100
PLANS = 20
USUAL_CONTEXT = 64  # of the verification before a plan: any that keeps the host waiting


def hop_point(bench: Bench, rows: int, context: int, repetitions: int = HOPS) -> Point:
    """One way between the engine's thread and a lane's worker, either asleep while the other side worked.

    Real operations take turns, as in a serial round: how long a thread takes to wake depends on how
    long it slept and on what the host did meanwhile.
    """
    sides = (False, True) if bench.draft_lanes else (False,)
    turn = [bench.usual(side, rows, context) for side in sides]
    samples = []
    with quiet():
        for _ in range(repetitions // len(turn)):
            for operation in turn:
                there = bench.stamps(*operation)
                samples.append((there.started - there.submitted) / NS)
                samples.append((there.received - there.finished) / NS)
    return _point("hop", timing_of(samples), {})


def transfer_point(bench: Bench, draft: int, rows: int, length: int, effort: Effort) -> Point:
    """What a verification takes longer because its proposals lie on the draft's device.

    On a single device that is nothing, and the point says so with the resolution of the clock.
    """
    home = bench.deployment.target.device
    away = bench.drafts[draft].device
    lane = bench.target_lane
    sides = []
    for device in (away, home):
        proposal = bench.proposal(rows, length, device)
        proposed: list[Proposed | None] = [Proposed(proposal, row) for row in range(rows)]
        sides.append(lambda proposed=proposed: _arrive(proposed, home))
    bench.settle()

    def once() -> float:
        there, here = (bench.stamps(lane, "transfer", side).seconds for side in sides)
        return there - here

    timing = repeated(once, effort)
    timing = Timing(max(timing.seconds, 1e-9), timing.spread_s, timing.repetitions)
    vocabulary = bench.deployment.models.target.vocabulary
    weight = ID_BYTES + (0 if bench.greedy else vocabulary * PROBABILITY_BYTES)
    return _point("transfer", timing, {"bytes": float(rows * length * weight)})


def _arrive(proposed: Sequence[Proposed | None], home: torch.device) -> None:
    gather(proposed, home)
    if home.type == "cuda":
        torch.cuda.current_stream(home).synchronize()


def planning_point(
    bench: Bench, packing: PackingPolicy, name: str, rows: int, context: int, length: int
) -> Point:
    """A plan for rows of an eighth of ``context`` to all of it, drawn anew for each: none was met before.

    A verification of usual size runs before each, for which this thread waits, as the engine's does for what
    ends before a plan. One plan behind the other takes two thirds as long: code and data stay in the caches.
    """
    random = np.random.default_rng(rows)
    before = bench.usual(False, rows, min(context, USUAL_CONTEXT))
    samples, waited = [], []
    with quiet():
        for _ in range(PLANS):
            kv = random.integers(max(1, context // 8), context + 1, size=rows).tolist()
            waited.append(bench.stamps(*before).seconds)
            began = time.perf_counter()
            planned = packing.plan(kv, [length + 1] * rows)
            samples.append(time.perf_counter() - began)
    del samples[0]  # its first plan also fills what policies cache
    timing = timing_of(samples)
    features = {"rows": float(rows), "kv_tokens": float(rows * context * 9 / 16)}
    features["after_s"] = timing_of(waited).seconds
    assert planned.kind == name
    return Point("planning", timing.seconds, timing.spread_s, timing.repetitions, features, packing=name)


def _point(operation: str, timing: Timing, features: dict[str, float]) -> Point:
    return Point(operation, timing.seconds, timing.spread_s, timing.repetitions, features)
