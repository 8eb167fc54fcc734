"""Operations take their predicted time; acceptance comes from a fixed field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import simpy

from spinsim.acceptance import verdicts
from spinsim.acceptance.entropies import Stops
from spinsim.acceptance.field import AcceptanceField, Offer
from spinsim.costs.base import LABELS, Predictor
from spinsim.costs.contention import Demand, Law
from spinsim.engine.world import NS, Lane
from spinsim.operations import (
    ALL,
    CATCH_UP,
    KINDS,
    PREFILL,
    PROPOSE,
    VERIFY,
    CatchUp,
    CatchUpOutcome,
    Completed,
    Operation,
    Outcome,
    Prefill,
    PrefillOutcome,
    Propose,
    ProposeOutcome,
    Verify,
    VerifyOutcome,
    named,
    scored,
)
from spinsim.simulated.ahead import SteppingEnvironment
from spinsim.simulated.lanes import ExclusiveLane, SharedDevice, SharedLane
from spinsim.simulated.noise import Noise

NO_OFFERS: Mapping[int, Offer] = MappingProxyType({})

# What an operation takes and makes: predicted seconds and their label, its outcome, its kind and its rows.
CarriedOut = tuple[float, int, Outcome, int, int]


class Acceptance(NamedTuple):
    """What drafts have to propose, and what the target accepts of it.

    ``offers``: of drafts that may have less to propose than they are asked for, how much. ``stops``: where
    proposals end by their entropy.
    """

    field: AcceptanceField
    offers: Mapping[int, Offer] = NO_OFFERS
    stops: Stops | None = None


class SimulatedWorld:
    """Implements :class:`spinsim.engine.world.World` in predicted time.

    The orchestrator is a serial resource: after a hop from the worker, handling the end of an operation
    takes ``predictor.handle`` of it and each submission ``predictor.orchestrate``; a hop follows. Operations
    that one end leads to begin one after the other: each waits ``predictor.wake_s``, where there is one, for
    each before it.
    ``remote[d]``: draft d is on another device than the target, so its proposals are transferred.
    ``scored_tokens``: of how many of the last output tokens in a catch-up's row it tells whether the draft
    would have proposed them. ``searched``: had the packing of what is verified now to be searched for? A plan
    that is known takes no time. ``ahead``: may :meth:`settle` let time come? Results are the same without,
    and take longer.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        predictor: Predictor,
        acceptance: Acceptance,
        *,
        remote: Sequence[bool],
        noise: Noise | None = None,
        scored_tokens: int = 0,
        searched: Callable[[], bool] = lambda: True,
        ahead: bool = True,
    ) -> None:
        self.env = SteppingEnvironment()
        self._ahead = ahead
        self.lanes = lanes
        self.label_s = [0.0] * len(LABELS)
        self.orchestrator_s = 0.0
        self._predictor = predictor
        self._field, self._offers, self._stops = acceptance
        self._remote = (*remote, False)  # the last entry is NO_DRAFT's
        self._any_remote = any(remote)
        self._noise = noise
        self._scored_tokens = scored_tokens
        self._law, self._loads = predictor.contention()
        self._lanes = _build_lanes(self.env, lanes, self._law)
        self._host: list[tuple[float, int]] = []  # orchestrator time by rows
        self._host_free_ns = 0
        self._hop_ns = round(predictor.hop().seconds * (noise.hop if noise else 1.0) * NS)
        self._wake_ns = round(getattr(predictor, "wake_s", 0.0) * (noise.hop if noise else 1.0) * NS)
        self._woken = 0  # threads of lanes, by what ended last
        self._slow = noise.handling if noise else 1.0  # the orchestrator's time, over what is predicted
        self._planning_s = getattr(predictor, "planning_s", None)
        self._searched = searched
        self._handles = any(predictor.handle(kind, 1).seconds for kind in KINDS)
        self._handling: dict[tuple[int, int], tuple[float, int]] = {}  # of its end, by kind and rows
        self._ended: tuple[int, int] | None = None  # kind and rows of what ended, not yet handled
        self._spent_s = 0.0  # by the orchestrator since it submitted last
        self._carry_out: Mapping[type[Operation], Callable[[Any], CarriedOut]] = {
            Verify: self._verify,
            Propose: self._propose,
            CatchUp: self._catch_up,
            Prefill: self._prefill,
        }

    def release(self, request: int) -> None:
        """The request has ended."""
        self._field.forget(request)

    def begin(self) -> None:
        """Operations begin when their time has come, whatever the host does."""

    def spend(self, seconds: float) -> None:
        """The orchestrator has worked so long, and submits the later for it."""
        self._spent_s += self._slow * seconds

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """Queue an operation for its predicted time."""
        event = self._submit(lane, operation, False)
        assert isinstance(event, simpy.Event)
        return event

    def settle(self, lane: int, operation: Operation) -> simpy.Event | Completed:
        """As :meth:`submit`, for who waits for this operation and nothing else.

        Where nothing is due before it ends, that time has come, and this is what came of it.
        """
        return self._submit(lane, operation, self._ahead)

    def _submit(self, lane: int, operation: Operation, ahead: bool) -> simpy.Event | Completed:
        seconds, label, outcome, kind, rows = self._carry_out[type(operation)](operation)
        if self._noise is not None:
            seconds *= self._noise.factor(kind)
        self.label_s[label] += seconds

        host_s, host_ns = self._host[rows] if rows < len(self._host) else self._host_time(rows)
        if self._ended is not None:
            handling_s, handling_ns = self._handling.get(self._ended) or self._handling_time(self._ended)
            host_s, host_ns = host_s + handling_s, host_ns + handling_ns
            self._ended, self._woken = None, 0
        if self._spent_s:
            host_s, host_ns = host_s + self._spent_s, host_ns + round(self._spent_s * NS)
            self._spent_s = 0.0
        self.orchestrator_s += host_s
        env = self.env
        now: int = env._now  # type: ignore[assignment]  # env.now is a call
        free = now + self._hop_ns
        if self._host_free_ns > free:
            free = self._host_free_ns
        self._host_free_ns = free = free + host_ns
        ready, work_ns = free + self._hop_ns + self._woken * self._wake_ns, round(seconds * NS)
        self._woken += 1
        where = self._lanes[lane]
        if ahead and (start := where.begins(now, ready)) >= 0 and env.step_to(end := start + work_ns):
            where.worked_until(end)
            if self._handles:
                self._ended = kind, rows
            return named(Completed, (outcome, start, end))
        event = where.submit(now, ready, work_ns, outcome, partial(self._demand, operation, seconds))
        if self._handles:
            assert event.callbacks is not None
            event.callbacks.append(lambda _: self._end(kind, rows))
        return event

    def _end(self, kind: int, rows: int) -> None:
        """Before whoever waits for it: what is submitted next follows from this."""
        self._ended = kind, rows

    def _host_time(self, rows: int) -> tuple[float, int]:
        """Orchestrator seconds and nanoseconds for an operation of ``rows``; kept for the next one."""
        for n in range(len(self._host), rows + 1):
            seconds = self._slow * self._predictor.orchestrate(n).seconds
            self._host.append((seconds, round(seconds * NS)))
        return self._host[rows]

    def _handling_time(self, ended: tuple[int, int]) -> tuple[float, int]:
        """Orchestrator seconds and nanoseconds for the end of an operation; kept for the next one."""
        kind, rows = ended
        seconds = self._slow * self._predictor.handle(KINDS[kind], rows).seconds
        self._handling[ended] = handling = seconds, round(seconds * NS)
        return handling

    def _verify(self, operation: Verify) -> CarriedOut:
        predictor = self._predictor
        accepted = verdicts.accepted(self._field, operation)
        rows = len(accepted)
        seconds, label = predictor.verify(operation.packing)
        if self._planning_s is not None and self._searched():
            self.spend(self._planning_s(operation.packing))
        if self._any_remote and any(map(self._remote.__getitem__, operation.drafts)):
            seconds += predictor.transfer(rows, sum(operation.lengths)).seconds
        chunk, prompts = operation.chunk, None
        if chunk is not None:
            # One pass for both: what a pass of one token takes (weights, launches) is paid once.
            alone = (
                predictor.prefill(chunk.tokens, chunk.starts).seconds - predictor.prefill([1], [0]).seconds
            )
            prompts = PrefillOutcome([False] * len(chunk.requests))
            seconds += max(0.0, alone)
        return seconds, label, named(VerifyOutcome, (accepted, [0] * rows, prompts)), VERIFY, rows

    def _propose(self, operation: Propose) -> CarriedOut:
        draft = operation.draft
        seconds, label = self._predictor.propose(draft, operation.lengths, operation.contexts)
        outcome = None
        if draft in self._offers:
            outcome = self._offered(operation)
        elif operation.ceilings is not None:
            assert self._stops is not None
            outcome = ProposeOutcome(self._stops.lengths(operation))
        return seconds, label, outcome, PROPOSE, len(operation.requests)

    def _catch_up(self, operation: CatchUp) -> CarriedOut:
        seconds, label = self._predictor.catch_up(operation.draft, operation.tokens, operation.starts)
        if 0 < self._scored_tokens < ALL:
            passes = filter(None, scored(operation, self._scored_tokens))
            seconds = sum(
                self._predictor.catch_up(each.draft, each.tokens, each.starts).seconds for each in passes
            )
        return seconds, label, CatchUpOutcome(self._hits(operation)), CATCH_UP, len(operation.requests)

    def _prefill(self, operation: Prefill) -> CarriedOut:
        seconds, label = self._predictor.prefill(operation.tokens, operation.starts)
        rows = len(operation.requests)
        return seconds, label, PrefillOutcome([False] * rows), PREFILL, rows

    def _demand(self, operation: Operation, seconds: float) -> Demand:
        """The operation as the other lanes of its device notice it."""
        loads = self._loads
        if type(operation) is Verify:
            return Demand(-1, seconds, *loads.verify(operation.packing))
        if type(operation) is Propose:
            draft = operation.draft
            return Demand(draft, seconds, *loads.propose(draft, operation.lengths, operation.contexts))
        if type(operation) is CatchUp:
            draft = operation.draft
            return Demand(draft, seconds, *loads.catch_up(draft, operation.tokens, operation.starts))
        assert type(operation) is Prefill
        return Demand(-1, seconds, *loads.prefill(operation.tokens, operation.starts))

    def _offered(self, operation: Propose) -> ProposeOutcome:
        offer = self._offers[operation.draft]
        rows = zip(operation.requests, operation.contexts, operation.lengths, strict=True)
        return ProposeOutcome([min(length, offer(request, context)) for request, context, length in rows])

    def _hits(self, operation: CatchUp) -> list[bytes]:
        if not self._scored_tokens:
            return [b""] * len(operation.requests)
        return verdicts.hits(self._field, operation, self._scored_tokens)


def _build_lanes(env: simpy.Environment, lanes: Sequence[Lane], law: Law) -> list[ExclusiveLane | SharedLane]:
    """A lane alone on all of its devices is a plain queue."""
    names = dict.fromkeys(device for lane in lanes for device in lane.devices)
    devices = {name: SharedDevice(law) for name in names}
    shared = {name for name in names if sum(name in lane.devices for lane in lanes) > 1}
    built: list[ExclusiveLane | SharedLane] = []
    for lane in lanes:
        if not shared & set(lane.devices):
            built.append(ExclusiveLane(env))
            continue
        mine = [devices[name] for name in lane.devices]
        built.append(made := SharedLane(env, mine))
        for device in mine:
            device.lanes.append(made)
    return built
