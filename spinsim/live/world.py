"""Operations on real models: token bookkeeping on the engine's thread, computation on the lanes'."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Protocol

import simpy

from spinsim.acceptance.entropies import below
from spinsim.engine.world import Lane
from spinsim.live.clock import NONE, Finished, LiveEnvironment
from spinsim.live.field import GivenAcceptance
from spinsim.live.lanes import Job, WorkerLane
from spinsim.live.looking_ahead import LookingAhead
from spinsim.live.lookups import NO_LOOKUPS, Lookups
from spinsim.live.paging import Paging
from spinsim.operations import (
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
    scored,
)

LAUNCH_S = 3e-4  # a verification's kernels are under way by then

Proposals = Any  # what Executor.propose returns: it stays on the draft's device


class Proposed(NamedTuple):
    """Where a row's proposal is: the handle that ``propose`` returned, and the row in it."""

    proposals: Proposals
    row: int


class Executor(Protocol):
    """The models. Every method runs on the thread of the lane that the model belongs to."""

    def set_up(self, lane: int) -> None:
        """Called once on the lane's thread, before its first operation."""
        ...

    def prefill(self, operation: Prefill, tokens: Sequence[Sequence[int]]) -> list[int]:
        """Chunks enter the target's cache; returns the token after each chunk."""
        ...

    def catch_up(
        self, operation: CatchUp, starts: Sequence[int], tokens: Sequence[Sequence[int]], predict: bool
    ) -> list[list[int]]:
        """Tokens enter a draft's cache; with ``predict``, what it would have said after each."""
        ...

    def propose(
        self, operation: Propose, positions: Sequence[int], tails: Sequence[tuple[int, int]]
    ) -> Proposals:
        """Draft; ``tails`` holds the last two tokens of each context."""
        ...

    def offer(self, found: Sequence[Sequence[int]]) -> Proposals:
        """Tokens that were looked up, a list a row, as a proposal."""
        ...

    def verify(
        self,
        operation: Verify,
        last: Sequence[int],
        proposed: Sequence[Proposed | None],
        verdict: Sequence[int] | None = None,
    ) -> tuple[list[int], list[list[int]]]:
        """Accepted counts, and the tokens that stand: the accepted ones and one of the target.

        ``verdict``: accepted counts that replace the models', once those were read.
        """
        ...


class LiveWorld:
    """Implements :class:`spinsim.engine.world.World` in real time.

    ``prompts`` holds the token ids of every request; ``stops`` the requests that end at any
    token of ``end_of_text``. ``scored_tokens`` as in the simulated world. ``paging``: where K/V lie in
    pages. ``lookups``: the drafts that look their proposals up. ``given``: acceptance that replaces the
    models'; no text ends early then. After the run, ``outputs`` has the tokens of every request that was not
    kept out (they may run past the output's limit).
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        executor: Executor,
        prompts: Mapping[int, Sequence[int]],
        *,
        end_of_text: frozenset[int] = frozenset(),
        stops: frozenset[int] = frozenset(),
        scored_tokens: int = 0,
        env: LiveEnvironment | None = None,
        paging: Paging | None = None,
        given: GivenAcceptance | None = None,
        lookups: Lookups = NO_LOOKUPS,
    ) -> None:
        self.env: LiveEnvironment = env or LiveEnvironment()
        self.lanes = lanes
        self.outputs: dict[int, list[int]] = {}
        self._executor = executor
        self._prompts = prompts
        self._end_of_text = end_of_text
        self._stops = stops if given is None else frozenset()
        self._given = given
        self._scored_tokens = scored_tokens
        self._paging = paging
        self._lookups = lookups
        self._ahead: LookingAhead | None = None
        self._ids: dict[int, array[int]] = {}  # contexts of requests whose proposals were looked up
        self._proposed: dict[int, Proposed] = {}
        self._operations = 0
        self._workers = [
            WorkerLane(lane.name, self.env, lambda i=i: executor.set_up(i))  # type: ignore[misc]
            for i, lane in enumerate(lanes)
        ]

    def close(self, patience_s: float | None = None) -> None:
        """End the lanes' threads, after what they still have queued; see :meth:`WorkerLane.close`."""
        for worker in self._workers:
            worker.close(patience_s)

    def fail(self, error: Exception) -> None:
        """End the run with an error that no operation reports; from any thread."""
        self.env.completions.put(Finished(NONE, self.env.wall_ns(), None, error))

    def release(self, request: int) -> None:
        """The request has ended."""
        self._proposed.pop(request, None)
        self._ids.pop(request, None)
        output = self.outputs.get(request, ())
        self._lookups.ended(request, output)
        if self._ahead is not None:
            self._ahead.ended(request, output)

    def begin(self) -> None:
        """Leaves the interpreter to the lanes' threads for as long as they take to launch an operation."""
        time.sleep(LAUNCH_S)

    def look_ahead(self, drafts: int) -> LookingAhead:
        """What lookups find before a round, for an engine whose policies read it; ``drafts`` in all."""
        self._ahead = LookingAhead(
            self._lookups.make,
            drafts,
            lambda request, position: self._context(request, len(self._prompts[request]) + position),
        )
        return self._ahead

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """Queue an operation on the lane's worker."""
        event = self.env.event()
        execute, interpret = self._prepare(operation)
        if self._paging is not None:
            execute = self._paging.before(operation, execute)
        number = self._operations
        self._operations += 1
        self.env.in_flight[number] = (event, interpret)
        self._workers[lane].submit(Job(number, type(operation).__name__.lower(), execute))
        return event

    def settle(self, lane: int, operation: Operation) -> simpy.Event | Completed:
        """As :meth:`submit`: nobody knows when a device will be through."""
        return self.submit(lane, operation)

    # What a worker needs is gathered here, on the engine's thread, so that workers share no state.

    def _prepare(self, operation: Operation) -> tuple[Callable[[], Any], Callable[[Any], Outcome]]:
        executor = self._executor
        if isinstance(operation, Verify):
            last = [self._tail(request)[1] for request in operation.requests]
            take = self._proposed.pop
            handed = [take(request, None) for request in operation.requests]
            proposed = [
                item if length else None for item, length in zip(handed, operation.lengths, strict=True)
            ]
            verdict = None if self._given is None else self._given.accepted(operation)
            return (
                lambda: executor.verify(operation, last, proposed, verdict),
                lambda result: self._verified(operation, result),
            )
        if isinstance(operation, Propose | CatchUp) and operation.draft in self._lookups:
            return self._prepare_lookup(operation)
        if isinstance(operation, Propose):
            tails = [self._tail(request) for request in operation.requests]
            positions = [len(self.outputs[request]) for request in operation.requests]
            return (
                lambda: executor.propose(operation, positions, tails),
                lambda result: self._drafted(operation, result),
            )
        if isinstance(operation, CatchUp):
            return self._prepare_catch_up(operation)
        chunks = self._fed(operation)
        return (
            lambda: executor.prefill(operation, chunks),
            lambda result: self._prefilled(operation, result),
        )

    def _prepare_catch_up(self, operation: CatchUp) -> tuple[Callable[[], Any], Callable[[Any], Outcome]]:
        executor = self._executor
        plain, asked = scored(operation, self._scored_tokens)
        unasked = None if plain is None else self._fed(plain)
        if asked is None:
            assert plain is not None
            nothing = CatchUpOutcome([b""] * len(operation.requests))
            return lambda: executor.catch_up(plain, plain.starts, unasked or [], False), lambda _: nothing
        # A prediction comes from the token before: to score a token, that one is fed again.
        starts = [max(start - 1, 0) for start in asked.starts]
        tokens = self._fed(asked, starts)

        def read() -> list[list[int]]:
            if plain is not None:
                executor.catch_up(plain, plain.starts, unasked or [], False)
            return executor.catch_up(asked, starts, tokens, True)

        return read, lambda result: self._caught_up(operation, asked, starts, tokens, result)

    def _prepare_lookup(
        self, operation: Propose | CatchUp
    ) -> tuple[Callable[[], Any], Callable[[Any], Outcome]]:
        lookups, executor, given = self._lookups, self._executor, self._given
        if isinstance(operation, CatchUp):
            read = [start + count for start, count in zip(operation.starts, operation.tokens, strict=True)]
            known = [self._context(*row) for row in zip(operation.requests, read, strict=True)]
            return lambda: lookups.score(operation, known), CatchUpOutcome
        contexts = [self._context(*row) for row in zip(operation.requests, operation.contexts, strict=True)]

        def look_up() -> tuple[Proposals, list[int]]:
            found = lookups.propose(operation, contexts)
            if given is not None:
                found = given.offered(operation, found)
            return executor.offer(found), [len(tokens) for tokens in found]

        def offered(result: tuple[Proposals, list[int]]) -> ProposeOutcome:
            self._drafted(operation, result[0])
            return ProposeOutcome(result[1])

        return look_up, offered

    def _context(self, request: int, tokens: int) -> array[int]:
        """A copy of the first ``tokens`` token ids of the request's context."""
        ids = self._ids.get(request)
        if ids is None:
            ids = self._ids[request] = array("i", self._prompts[request])
        ids.extend(self.outputs[request][len(ids) - len(self._prompts[request]) :])
        return ids[:tokens]

    def _slice(self, request: int, start: int, stop: int) -> list[int]:
        prompt = self._prompts[request]
        edge = len(prompt)
        tokens = list(prompt[start:stop])
        if stop > edge:
            tokens += self.outputs[request][max(start - edge, 0) : stop - edge]
        return tokens

    def _fed(self, operation: CatchUp | Prefill, starts: Sequence[int] | None = None) -> list[list[int]]:
        """The tokens that each row takes in; from ``starts`` on, where it begins earlier."""
        ends = (start + count for start, count in zip(operation.starts, operation.tokens, strict=True))
        rows = zip(operation.requests, starts or operation.starts, ends, strict=True)
        return [self._slice(*row) for row in rows]

    def _tail(self, request: int) -> tuple[int, int]:
        """The last two tokens of the request's context; its output has at least one."""
        output = self.outputs[request]
        return (output[-2] if len(output) > 1 else self._prompts[request][-1]), output[-1]

    # Results are read on the engine's thread, when the completion is handled.

    def _prefilled(self, operation: Prefill, tokens: list[int]) -> PrefillOutcome:
        ended = []
        for request, last, token in zip(operation.requests, operation.last, tokens, strict=True):
            if last:
                self.outputs[request] = self._said(request, 0, [token])
            ended.append(last and token in self._end_of_text and request in self._stops)
        return PrefillOutcome(ended)

    def _drafted(self, operation: Propose, proposals: Proposals) -> ProposeOutcome | None:
        requests = operation.requests
        handed = map(Proposed, repeat(proposals), range(len(requests)))
        self._proposed.update(zip(requests, handed, strict=True))
        if operation.ceilings is None:
            return None
        if self._given is not None and self._given.stops is not None:
            return ProposeOutcome(self._given.stops.lengths(operation))
        sure = proposals.entropies
        if sure is None:  # a drafter that does not tell them is never stopped early
            return None
        rows = zip(sure.tolist(), operation.lengths, operation.ceilings, strict=True)
        return ProposeOutcome([below(entropies, length, ceiling) for entropies, length, ceiling in rows])

    def _caught_up(
        self,
        operation: CatchUp,
        asked: CatchUp,
        starts: Sequence[int],
        tokens: Sequence[Sequence[int]],
        predictions: list[list[int]],
    ) -> CatchUpOutcome:
        if self._given is not None:
            return CatchUpOutcome(self._given.hits(operation, self._scored_tokens))
        hits = {}
        for request, prompt, start, first, fed, said in zip(
            asked.requests, asked.prompts, asked.starts, starts, tokens, predictions, strict=True
        ):
            positions = range(max(start, prompt), first + len(fed))
            hits[request] = bytes(said[i - 1 - first] == fed[i - first] for i in positions)
        return CatchUpOutcome([hits.get(request, b"") for request in operation.requests])

    def _verified(self, operation: Verify, result: tuple[list[int], list[list[int]]]) -> VerifyOutcome:
        accepted, tokens = result
        outputs, stops, ending = self.outputs, self._stops, self._end_of_text
        says_else = self._given is not None and bool(self._given.texts)
        ended = []
        for request, new in zip(operation.requests, tokens, strict=True):
            stand = 0
            if request in stops and not ending.isdisjoint(new):
                stand = 1 + next(i for i, token in enumerate(new) if token in ending)
            output = outputs[request]
            output += self._said(request, len(output), new) if says_else else new
            ended.append(stand)
        return VerifyOutcome(accepted, ended)

    def _said(self, request: int, position: int, tokens: list[int]) -> list[int]:
        return tokens if self._given is None else self._given.said(request, position, tokens)
