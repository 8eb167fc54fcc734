"""Short runs of the engine on the bench: what operations and the host take when they are part of a run.

Measured alone, an operation finds the interpreter warm and its lock free, and a device that has just worked.
In a run, lanes sleep and contend. A rehearsal says how much longer operations then take than the profile's
other points predict, and how long the host handles what ends, policies' thinking included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import simpy

from spinsim.costs.base import KINDS, Predictor
from spinsim.costs.profile import Point
from spinsim.engine.engine import Engine
from spinsim.engine.operations import CatchUp, Operation, Prefill, Propose, Verify
from spinsim.engine.records import Records
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import NS, Lane
from spinsim.live.clock import Finished, LiveEnvironment
from spinsim.live.quiet import quiet
from spinsim.live.world import Executor, LiveWorld
from spinsim.policies.build import Policies
from spinsim.profiling.timing import timing_of
from spinsim.workload.request import Request, Workload

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 32
TURNS = 2  # requests of every client
FEWEST = 3  # samples behind a point of handling


@dataclass(frozen=True)
class Orchestration:
    """What an engine needs beside a world. ``policies`` makes the scenario's anew: they have state."""

    lanes: Sequence[Lane]
    drafts: tuple[str, ...]
    settings: EngineSettings
    policies: Callable[[], Policies]


class Performed(NamedTuple):
    """An operation of a run, and how long it took on a lane that stood idle, or was at work."""

    operation: Operation
    seconds: float
    after_idle: bool


class Handled(NamedTuple):
    """The end of an operation of so many rows, and the host's time until all it led to was submitted."""

    kind: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class Rehearsal:
    """What the runs of one orchestration showed."""

    performed: tuple[Performed, ...]
    handled: tuple[Handled, ...]


class _WatchedEnvironment(LiveEnvironment):
    """Notes how long each completion is handled: from the wait that brought it to the next wait."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[tuple[int, int, int]] = []  # operation, ns, operations submitted meanwhile
        self.submitted = 0
        self._since: tuple[int, int, int] | None = None  # operation, when it arrived, submitted until then

    def next_input(self, next_timer_ns: float) -> None:
        if self._since is not None:
            operation, began_ns, submitted = self._since
            spent_ns = time.perf_counter_ns() - began_ns
            self.handled.append((operation, spent_ns, self.submitted - submitted))
            self._since = None
        super().next_input(next_timer_ns)

    def _wait(self, next_timer_ns: float) -> Finished | None:
        finished = super()._wait(next_timer_ns)
        if finished is not None:
            self._since = finished.operation, time.perf_counter_ns(), self.submitted
        return finished


class _WatchedWorld(LiveWorld):
    """Keeps the operations that it is given, by number."""

    def __init__(
        self,
        env: _WatchedEnvironment,
        lanes: Sequence[Lane],
        executor: Executor,
        prompts: dict[int, list[int]],
        score_catch_ups: bool,
    ) -> None:
        super().__init__(lanes, executor, prompts, score_catch_ups=score_catch_ups, env=env)
        self.watched = env
        self.given: list[Operation] = []

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """See :class:`~spinsim.live.world.LiveWorld`."""
        self.given.append(operation)
        self.watched.submitted += 1
        return super().submit(lane, operation)


def rehearse(setup: Orchestration, executor: Executor, rows: int, runs: int) -> Rehearsal:
    """Closed loops of ``rows`` clients, live; one more that does not count comes first.

    The engine's thread then sleeps as long between two inputs, and contends with as much, as in any run.
    """
    context = setup.settings.context_tokens
    prompt = max(1, min(PROMPT_TOKENS, context // 4))
    output = max(2, min(OUTPUT_TOKENS, context - prompt))
    requests = tuple(Request(i, 0.0, prompt, output) for i in range(TURNS * rows))
    workload = Workload(requests, concurrency=rows)
    performed: list[Performed] = []
    handled: list[Handled] = []
    for run in range(runs + 1):
        policies = setup.policies()
        env = _WatchedEnvironment()
        prompts = {request.id: [1] * prompt for request in requests}
        world = _WatchedWorld(env, setup.lanes, executor, prompts, policies.selector.full_information)
        engine = Engine(world, workload, policies, setup.settings, setup.drafts)
        engine.start()
        with quiet():
            env.start_clock()
            env.run(until=engine.done)
        world.close()
        if run:  # the first one also warms up what policies import and cache
            performed += _performed(world.given, engine.records)
            handled += _handled(env.handled, engine.records)
    return Rehearsal(tuple(performed), tuple(handled))


def _performed(given: Sequence[Operation], records: Records) -> Iterable[Performed]:
    operations = records.operations
    free: dict[int, int] = {}
    columns = zip(
        given,
        operations.lane,
        operations.submitted_ns,
        operations.started_ns,
        operations.finished_ns,
        strict=True,
    )
    for operation, lane, submitted_ns, started_ns, finished_ns in columns:
        if finished_ns < 0:
            continue
        idle = submitted_ns >= free.get(lane, -1)
        free[lane] = finished_ns
        yield Performed(operation, (finished_ns - started_ns) / NS, idle)


def _handled(seen: Sequence[tuple[int, int, int]], records: Records) -> Iterable[Handled]:
    operations = records.operations
    for number, spent_ns, submitted in seen:
        if submitted:
            yield Handled(KINDS[operations.kind[number]], operations.rows[number], spent_ns / NS)


def handling_points(handled: Iterable[Handled], selector: str) -> list[Point]:
    """One for each kind and power of two of rows; the mean, since rounds that take longer take it each."""
    groups: dict[tuple[str, int], list[Handled]] = {}
    for one in handled:
        groups.setdefault((one.kind, one.rows.bit_length()), []).append(one)
    points = []
    for (kind, _), group in groups.items():
        if len(group) < FEWEST:
            continue
        seconds = [one.seconds for one in group]
        rows = float(np.mean([one.rows for one in group]))
        points.append(
            Point(
                "handling",
                float(np.mean(seconds)),
                timing_of(seconds).spread_s,
                len(group),
                {"rows": round(rows, 2)},
                kind=kind,
                policy=selector,
            )
        )
    return points


def in_run_points(
    performed: Iterable[Performed], predictor: Predictor, remote: Sequence[bool]
) -> list[Point]:
    """One for each kind after an idle lane, and one after work: means, and what was predicted for the same
    operations. ``remote``: drafts on another device than the target."""
    groups: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for one in performed:
        kind, seconds = predicted(one.operation, predictor, remote)
        if seconds > 0:
            groups.setdefault((kind, one.after_idle), []).append((one.seconds, seconds))
    points = []
    for (kind, idle), pairs in groups.items():
        live, alone = (float(np.mean(side)) for side in zip(*pairs, strict=True))
        spread = timing_of([ours - theirs for ours, theirs in pairs]).spread_s
        features = {"after_idle": float(idle), "predicted_s": alone}
        points.append(Point("in_run", live, spread, len(pairs), features, kind=kind))
    return points


def predicted(operation: Operation, predictor: Predictor, remote: Sequence[bool]) -> tuple[str, float]:
    """Kind and seconds of an operation, as the simulated world charges it before anything of a run."""
    if isinstance(operation, Verify):
        seconds = predictor.verify(operation.packing).seconds
        if any(remote[draft] for draft in operation.drafts if draft >= 0):
            seconds += predictor.transfer(len(operation.requests), sum(operation.lengths)).seconds
        return "verify", seconds
    if isinstance(operation, Propose):
        lengths, contexts = operation.lengths, operation.contexts
        return "propose", predictor.propose(operation.draft, lengths, contexts).seconds
    if isinstance(operation, CatchUp):
        return "catch_up", predictor.catch_up(operation.draft, operation.tokens, operation.starts).seconds
    assert isinstance(operation, Prefill)
    return "prefill", predictor.prefill(operation.tokens, operation.starts).seconds
