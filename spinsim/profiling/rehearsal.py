"""Short runs of the engine on the bench: what only a run shows.

How long the host handles what ends, policies' thinking included: a selector that thinks for a millisecond
before a round keeps every device waiting for it. What it thinks while the target works does not count. And
how much longer an operation takes than on the bench, where nothing else goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import simpy

from spinsim.acceptance.known_text import Lookup
from spinsim.costs.base import INTERPOLATED, Estimate, Predictor
from spinsim.costs.profiled.profile import Point
from spinsim.engine.kv import KvPools
from spinsim.engine.records import Records
from spinsim.engine.world import NS, Lane
from spinsim.live.clock import Finished, LiveEnvironment
from spinsim.live.field import GivenAcceptance
from spinsim.live.lookups import Lookups
from spinsim.live.paging import Paging
from spinsim.live.quiet_interpreter import quiet
from spinsim.live.world import Executor, LiveWorld
from spinsim.operations import KINDS, CatchUp, Operation, Prefill, Propose, Verify
from spinsim.profiling.timing import timing_of
from spinsim.serving import Serving
from spinsim.workload.request import Request, Workload

USUAL_PROMPT = 128
TURNS = 2  # requests of every client
FEWEST = 3  # samples behind a point of handling


class Orchestration(NamedTuple):
    """``serving`` makes the engine's side of a run anew; ``paging`` lays its blocks into the caches.

    ``given``: what is accepted of outputs of so many tokens; None where the models decide. ``lookups`` makes
    those of drafts that look their proposals up.
    """

    serving: Callable[[], Serving]
    paging: Callable[[KvPools], Paging]
    context_tokens: int
    given: Callable[[int], GivenAcceptance | None] = lambda _: None
    lookups: Mapping[int, Callable[[], Lookup]] = MappingProxyType({})


class Handled(NamedTuple):
    """The end of an operation of so many rows, and the host's time until all it led to was submitted: so
    many ``operations``."""

    kind: str
    rows: int
    seconds: float
    operations: int


class HandedOver(NamedTuple):
    """From the end of an operation of so many rows until what it led to began, on lanes that were idle.

    ``handled_s``: the host's time of that.
    """

    kind: str
    rows: int
    seconds: float
    handled_s: float


class Ran(NamedTuple):
    """An operation of a run: its draft (-1: the target's), rows, time, and the time predicted for it."""

    kind: str
    draft: int
    rows: int
    seconds: float
    bench_s: float


@dataclass(frozen=True)
class Rehearsed:
    """What short runs showed. ``ran`` has no operation beside which another lane of its device was busy."""

    handled: list[Handled]
    ran: list[Ran]
    handed_over: list[HandedOver]


class _Spent(NamedTuple):
    """The host's time for the end of an operation; ``submitted`` are the numbers of those that it led to."""

    operation: int
    ns: int
    submitted: range


class _WatchedEnvironment(LiveEnvironment):
    """Notes how long each completion is handled: from the wait that brought it to the next wait, or to what
    is thought through while the target works, for which nobody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[_Spent] = []
        self.submitted = 0
        self._since: tuple[int, int, int] | None = None  # operation, when it arrived, submitted until then
        self._through_ns: int | None = None  # when it was handled, before the next wait

    def next_input(self, next_timer_ns: float) -> None:
        if self._since is not None:
            operation, began_ns, submitted = self._since
            spent_ns = (self._through_ns or time.perf_counter_ns()) - began_ns
            self.handled.append(_Spent(operation, spent_ns, range(submitted, self.submitted)))
            self._since = self._through_ns = None
        super().next_input(next_timer_ns)

    def is_through(self) -> None:
        """The completion is handled; what comes before the next wait does not count."""
        self._through_ns = time.perf_counter_ns()

    def _wait(self, next_timer_ns: float) -> Finished | None:
        finished = super()._wait(next_timer_ns)
        if finished is not None:
            self._since = finished.operation, time.perf_counter_ns(), self.submitted
        return finished


class _WatchedWorld(LiveWorld):
    """Keeps the operations that it is given, in order."""

    def __init__(
        self,
        env: _WatchedEnvironment,
        lanes: Sequence[Lane],
        executor: Executor,
        prompts: dict[int, list[int]],
        scored_tokens: int,
        paging: Paging,
        given: GivenAcceptance | None,
        lookups: Lookups,
    ) -> None:
        super().__init__(
            lanes,
            executor,
            prompts,
            scored_tokens=scored_tokens,
            env=env,
            paging=paging,
            given=given,
            lookups=lookups,
        )
        self.watched = env
        self.given: list[Operation] = []

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """See :class:`~spinsim.live.world.LiveWorld`."""
        self.watched.submitted += 1
        self.given.append(operation)
        return super().submit(lane, operation)

    def begin(self) -> None:
        """See :class:`~spinsim.live.world.LiveWorld`."""
        self.watched.is_through()
        super().begin()


def rehearse(
    setup: Orchestration,
    executor: Executor,
    vocabulary: int,
    rows: int,
    runs: int,
    output_tokens: int,
    predictor: Predictor,
) -> Rehearsed:
    """Closed loops of ``rows`` clients, live; one more that does not count comes first.

    The engine's thread then sleeps as long between two inputs, and contends with as much, as in any run.
    ``predictor`` says what operations take on the bench. Each end of a request is handled: outputs that are
    too short end too often. They are 0.5 to 1.5 times ``output_tokens``, so that requests come and go one by
    one as in a run: what a round leads to differs, and the host's time with it.
    """
    context = setup.context_tokens
    prompt = max(1, min(USUAL_PROMPT, context // 4))
    outputs = _outputs(TURNS * rows, output_tokens, context - prompt)
    requests = tuple(Request(i, 0.0, prompt, output) for i, output in enumerate(outputs))
    workload = Workload(requests, concurrency=rows)
    # Prompts differ, or what is accepted would not, and planning were easier than it is.
    random = np.random.default_rng(0)
    prompts = {request.id: random.integers(vocabulary, size=prompt).tolist() for request in requests}
    given = setup.given(max(outputs))
    handled: list[Handled] = []
    ran: list[Ran] = []
    handed_over: list[HandedOver] = []
    for run in range(runs + 1):
        serving = setup.serving()
        env = _WatchedEnvironment()
        scores, paging = serving.policies.scored_tokens, setup.paging(serving.pools)
        lookups = Lookups(setup.lookups)
        world = _WatchedWorld(env, serving.layout.lanes, executor, prompts, scores, paging, given, lookups)
        looks = bool(setup.lookups) and serving.policies.read_lookups
        ahead = world.look_ahead(len(serving.settings.drafts)) if looks else None
        engine = serving.start(world, workload, lookups=ahead)
        with quiet():
            env.start_clock()
            env.run(until=engine.done)
        world.close()
        if run:  # the first one also warms up what policies import and cache
            handled += _handled(env.handled, engine.records)
            ran += _ran(world.given, engine.records, world.lanes, predictor)
            handed_over += _handed_over(env.handled, engine.records)
    return Rehearsed(handled, ran, handed_over)


def _outputs(count: int, tokens: int, most: int) -> list[int]:
    """Evenly from half to three halves of ``tokens``, in an order that is drawn once; from 2 to ``most``."""
    lengths = np.linspace(0.5 * tokens, 1.5 * tokens, count)
    drawn = np.random.default_rng(1).permutation(lengths)
    return [max(2, min(round(float(length)), most)) for length in drawn]


def _handled(seen: Sequence[_Spent], records: Records) -> Iterable[Handled]:
    operations = records.operations
    for spent in seen:
        if spent.submitted:
            kind, rows = KINDS[operations.kind[spent.operation]], operations.rows[spent.operation]
            yield Handled(kind, rows, spent.ns / NS, len(spent.submitted))


def _handed_over(seen: Sequence[_Spent], records: Records) -> Iterable[HandedOver]:
    operations = records.operations
    ended: dict[int, int] = {}  # lane -> when its last operation ended
    before = []  # of each operation, when the one before it on its lane ended
    for lane, finished in zip(operations.lane, operations.finished_ns, strict=True):
        before.append(ended.get(lane, 0))
        ended[lane] = finished
    for spent in seen:
        end = operations.finished_ns[spent.operation]
        begun = [
            operations.started_ns[number] - end
            for number in spent.submitted
            if before[number] <= end <= operations.started_ns[number]
        ]
        if begun:
            kind, rows = KINDS[operations.kind[spent.operation]], operations.rows[spent.operation]
            yield HandedOver(kind, rows, sum(begun) / len(begun) / NS, spent.ns / NS)


def _ran(
    given: Sequence[Operation], records: Records, lanes: Sequence[Lane], predictor: Predictor
) -> Iterable[Ran]:
    operations = records.operations
    started = np.asarray(operations.started_ns, np.int64)
    finished = np.asarray(operations.finished_ns, np.int64)
    lane = np.asarray(operations.lane)
    beside = [
        np.isin(lane, [j for j, b in enumerate(lanes) if j != i and set(a.devices) & set(b.devices)])
        for i, a in enumerate(lanes)
    ]
    for number, operation in enumerate(given):
        if finished[number] < 0:
            continue
        others = beside[lane[number]]
        if ((started[others] < finished[number]) & (finished[others] > started[number])).any():
            continue
        kind, bench = KINDS[operations.kind[number]], _on_the_bench(operation, predictor)
        if bench.label > INTERPOLATED:  # nothing was measured that it could be held against
            continue
        draft = operation.draft if isinstance(operation, CatchUp | Propose) else -1
        seconds = float(finished[number] - started[number]) / NS
        yield Ran(kind, draft, operations.rows[number], seconds, bench.seconds)


def _on_the_bench(operation: Operation, predictor: Predictor) -> Estimate:
    if isinstance(operation, Verify):
        return predictor.verify(operation.packing)
    if isinstance(operation, Propose):
        return predictor.propose(operation.draft, operation.lengths, operation.contexts)
    if isinstance(operation, CatchUp):
        return predictor.catch_up(operation.draft, operation.tokens, operation.starts)
    assert isinstance(operation, Prefill)
    return predictor.prefill(operation.tokens, operation.starts)


def in_run_points(ran: Iterable[Ran], selector: str, models: Sequence[str]) -> list[Point]:
    """One for each kind, model and power of two of rows: the mean time, and the mean time on the bench.

    ``models`` names the drafts' ("" for one that is no model), and last the target's.
    """
    groups: dict[tuple[str, str, int], list[Ran]] = {}
    for one in ran:
        if not models[one.draft]:  # a lookup or a head, which is measured by itself
            continue
        groups.setdefault((one.kind, models[one.draft], one.rows.bit_length()), []).append(one)
    return [
        _seen("in_run", group, kind, selector, model, bench_s=float(np.mean([one.bench_s for one in group])))
        for (kind, model, _), group in groups.items()
        if len(group) >= FEWEST
    ]


def handling_points(handled: Iterable[Handled], selector: str) -> list[Point]:
    """One for each kind, power of two of rows, and number of operations that followed."""
    groups: dict[tuple[str, int, int], list[Handled]] = {}
    for one in handled:
        groups.setdefault((one.kind, one.rows.bit_length(), one.operations), []).append(one)
    return [
        _seen("handling", group, kind, selector, operations=float(operations))
        for (kind, _, operations), group in groups.items()
        if len(group) >= FEWEST
    ]


def handover_points(handed_over: Iterable[HandedOver], selector: str) -> list[Point]:
    """One for each kind and power of two of rows."""
    groups: dict[tuple[str, int], list[HandedOver]] = {}
    for one in handed_over:
        groups.setdefault((one.kind, one.rows.bit_length()), []).append(one)
    return [
        _seen("handover", group, kind, selector, handled_s=float(np.mean([one.handled_s for one in group])))
        for (kind, _), group in groups.items()
        if len(group) >= FEWEST
    ]


def _seen(
    operation: str,
    group: Sequence[Handled] | Sequence[Ran] | Sequence[HandedOver],
    kind: str,
    selector: str,
    model: str = "",
    **features: float,
) -> Point:
    """The mean, since rounds that take longer take it each."""
    seconds = [one.seconds for one in group]
    rows = round(float(np.mean([one.rows for one in group])), 2)
    spread_s = timing_of(seconds).spread_s
    return Point(
        operation,
        float(np.mean(seconds)),
        spread_s,
        len(group),
        {"rows": rows, **features},
        model=model,
        kind=kind,
        policy=selector,
    )


def host_factors(known: Iterable[Point], again: Iterable[Point]) -> dict[str, float]:
    """Again over known, for hops and for handling: over all kinds, selectors and sizes that both have."""
    before, after = (
        {_group(point): point for point in points if point.operation in ("hop", "handling")}
        for points in (known, again)
    )
    factors = {}
    for operation in ("hop", "handling"):
        both = [key for key in before if key[0] == operation and key in after]
        if both:
            weights = [before[key].repetitions for key in both]
            there, here = (np.dot(weights, [side[key].seconds for key in both]) for side in (before, after))
            factors[operation] = float(here / there)
    return factors


def _group(point: Point) -> tuple[object, ...]:
    rows, operations = (point.features.get(name, 0.0) for name in ("rows", "operations"))
    return point.operation, point.kind, point.policy, int(rows).bit_length(), operations
