"""Short runs of the engine on the bench: how long the host handles what ends, policies' thinking included.

Selectors differ here: one that plans for a millisecond keeps every device waiting for it, each round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import simpy

from spinsim.costs.base import KINDS
from spinsim.costs.profile import Point
from spinsim.engine.engine import Engine
from spinsim.engine.operations import Operation
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


class Handled(NamedTuple):
    """The end of an operation of so many rows, and the host's time until all it led to was submitted."""

    kind: str
    rows: int
    seconds: float


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
    """Counts the operations that it is given."""

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

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """See :class:`~spinsim.live.world.LiveWorld`."""
        self.watched.submitted += 1
        return super().submit(lane, operation)


def rehearse(
    setup: Orchestration, executor: Executor, vocabulary: int, rows: int, runs: int
) -> list[Handled]:
    """Closed loops of ``rows`` clients, live; one more that does not count comes first.

    The engine's thread then sleeps as long between two inputs, and contends with as much, as in any run.
    """
    context = setup.settings.context_tokens
    prompt = max(1, min(PROMPT_TOKENS, context // 4))
    output = max(2, min(OUTPUT_TOKENS, context - prompt))
    requests = tuple(Request(i, 0.0, prompt, output) for i in range(TURNS * rows))
    workload = Workload(requests, concurrency=rows)
    # Prompts differ, or what is accepted would not, and planning were easier than it is.
    random = np.random.default_rng(0)
    prompts = {request.id: random.integers(vocabulary, size=prompt).tolist() for request in requests}
    handled: list[Handled] = []
    for run in range(runs + 1):
        policies = setup.policies()
        env = _WatchedEnvironment()
        world = _WatchedWorld(env, setup.lanes, executor, prompts, policies.selector.full_information)
        engine = Engine(world, workload, policies, setup.settings, setup.drafts)
        engine.start()
        with quiet():
            env.start_clock()
            env.run(until=engine.done)
        world.close()
        if run:  # the first one also warms up what policies import and cache
            handled += _handled(env.handled, engine.records)
    return handled


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
