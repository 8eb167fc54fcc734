"""The host between operations: the orchestrator's own time, thread hops, and ids on their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from spinsim.costs.links import ID_BYTES, PROBABILITY_BYTES
from spinsim.costs.profile import Point
from spinsim.engine.engine import Engine
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import NS, Lane
from spinsim.live.executor import gather
from spinsim.live.quiet import quiet
from spinsim.live.world import Executor, LiveWorld, Proposed
from spinsim.policies.build import Policies
from spinsim.profiling.bench import Bench
from spinsim.profiling.timing import Effort, Timing, repeated, timing_of
from spinsim.workload.request import Request, Workload

OUTPUT_TOKENS = 24
HOPS = 100


@dataclass(frozen=True)
class Orchestration:
    """What an engine needs beside a world. ``policies`` makes the scenario's anew: they have state."""

    lanes: Sequence[Lane]
    drafts: tuple[str, ...]
    settings: EngineSettings
    policies: Callable[[], Policies]


def orchestrator_point(setup: Orchestration, executor: Executor, rows: int, repetitions: int) -> Point:
    """Host seconds an operation of a run with ``rows`` requests at once under the scenario's policies.

    A short closed loop, live: the engine's thread then has slept as long between two inputs, and has as much
    to contend with, as in any run. The point's rows are the mean over operations, since a micro-batch drafts
    in groups and verifies whole.
    """
    context = setup.settings.context_tokens
    prompt = max(1, min(32, context // 4))
    output = max(2, min(OUTPUT_TOKENS, context - prompt))
    requests = tuple(Request(i, 0.0, prompt, output) for i in range(2 * rows))
    workload = Workload(requests, concurrency=rows)
    samples: list[float] = []
    mean_rows: list[float] = []
    for _ in range(repetitions + 1):
        policies = setup.policies()
        world = LiveWorld(
            setup.lanes,
            executor,
            {request.id: [1] * prompt for request in requests},
            score_catch_ups=policies.selector.full_information,
        )
        engine = Engine(world, workload, policies, setup.settings, setup.drafts)
        engine.start()
        with quiet():
            world.env.start_clock()
            world.env.run(until=engine.done)
            elapsed_ns = world.env.wall_ns()
        world.close()
        operations = engine.records.operations
        samples.append((elapsed_ns - world.env.waited_ns) / NS / len(operations.rows))
        mean_rows.append(sum(operations.rows) / len(operations.rows))
    timing = timing_of(samples[1:])  # the first run also warms up what policies import and cache
    features = {"rows": max(1.0, round(sum(mean_rows[1:]) / repetitions, 2))}
    return _point("orchestrator", timing, features)


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
    away = bench.deployment.drafts[draft].device
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


def _point(operation: str, timing: Timing, features: dict[str, float]) -> Point:
    return Point(operation, timing.seconds, timing.spread_s, timing.repetitions, features)
