"""Catch-ups: a draft takes in what it has not seen of a request's prompt and output."""

from __future__ import annotations

import simpy

from spinsim.engine.engine import Engine
from spinsim.engine.records import NO_ROUND
from spinsim.engine.session import Session
from spinsim.operations import CatchUp, CatchUpOutcome, Completed


class Behind:
    """Requests that lag behind in one draft, and the operation that brings them up to date."""

    __slots__ = ("operation", "sessions")

    def __init__(self, draft: int) -> None:
        self.operation = CatchUp(draft, [], [], [], [], [])
        self.sessions: list[Session] = []

    def add(self, session: Session, slot: int, missing: int) -> None:
        """One more request, whose K/V lies in ``slot`` and lacks ``missing`` tokens."""
        view = session.view
        operation = self.operation
        draft = operation.draft
        operation.requests.append(view.id)
        operation.slots.append(slot)
        operation.prompts.append(view.prompt_tokens)
        operation.starts.append(view.cached[draft])
        operation.tokens.append(missing)
        self.sessions.append(session)
        # The lane executes in order: whatever is submitted after this finds the tokens there.
        view.cached[draft] += missing
        session.background[draft] += 1
        session.record.catch_up_tokens += missing

    def submit(self, engine: Engine, micro_batch: int) -> None:
        """Hand the operation to the draft's lane; its end is handled whoever waits."""
        event, noted = engine.submit(self.operation, micro_batch)

        def done(event: simpy.Event) -> None:
            if not event.ok:
                return
            completed = event.value
            assert isinstance(completed, Completed)
            engine.completed(noted, completed)
            assert isinstance(completed.outcome, CatchUpOutcome)
            self._caught_up(engine, completed.outcome)

        assert event.callbacks is not None
        event.callbacks.append(done)

    def _caught_up(self, engine: Engine, outcome: CatchUpOutcome) -> None:
        draft, selector = self.operation.draft, engine.policies.selector
        for row, session in enumerate(self.sessions):
            session.background[draft] -= 1
            if session.record.finished_ns >= 0:
                _drop_late(engine, session, draft)
            elif outcome.hits[row]:
                selector.observe_hits(session.view, draft, outcome.hits[row])


def catch_up_beside(engine: Engine, micro_batch: int, draft: int, sessions: list[Session]) -> None:
    """Bring requests' K/V in a draft up to date while their rounds go on."""
    behind = Behind(draft)
    for session in sessions:
        view = session.view
        slot = engine.caches.place(session, draft, view.context)
        missing = view.context - 1 - view.cached[draft]
        if slot >= 0 and missing > 0:
            behind.add(session, slot, missing)
    if behind.sessions:
        behind.submit(engine, micro_batch)


def score_other_drafts(engine: Engine, sessions: list[Session]) -> None:
    """Full information: every other draft reads the tokens just committed, and is scored on them."""
    for draft in range(len(engine.drafts)):
        others = [s for s in sessions if s.view.draft != draft]
        if others:
            catch_up_beside(engine, NO_ROUND, draft, others)


def _drop_late(engine: Engine, session: Session, draft: int) -> None:
    """The request ended during the catch-up: now nobody uses the slot."""
    if session.background[draft] == 0:
        engine.caches.drop(session, draft)
    if not any(session.background):
        engine.forget(session)
