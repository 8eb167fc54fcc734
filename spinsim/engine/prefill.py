"""Prompts enter the target's KV cache in chunks, between the verifications on its lane."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from spinsim.engine import records as rec
from spinsim.engine.engine import Engine
from spinsim.engine.session import Session
from spinsim.operations import Completed, Prefill, PrefillOutcome

PREFILL = rec.KINDS.index("prefill")


def prefill(engine: Engine) -> Generator[simpy.Event, Any, None]:
    """One chunk at a time, so that a verification waits for one chunk at the most.

    A chunk takes prompts first come, first served, up to ``prefill_chunk_tokens`` in all.
    """
    while True:
        if not engine.prefilling:
            yield engine.await_prompts()
            continue
        sessions, operation = _next_chunk(engine)
        event, op = engine.submit(
            engine.settings.target_lane, operation, PREFILL, -1, -1, len(sessions), sum(operation.tokens)
        )
        done = yield event
        engine.completed(op, done)
        _commit(engine, sessions, operation, done)


def _next_chunk(engine: Engine) -> tuple[list[Session], Prefill]:
    budget = engine.settings.prefill_chunk_tokens
    sessions: list[Session] = []
    chunk = Prefill([], [], [], [], [])
    for session in engine.prefilling:
        tokens = min(session.prefill_goal - session.prefilled, budget)
        sessions.append(session)
        session.in_flight = True
        chunk.requests.append(session.view.id)
        chunk.slots.append(session.view.slot)
        chunk.starts.append(session.prefilled)
        chunk.tokens.append(tokens)
        # A preempted request has its first token already: its last chunk yields none.
        finishes = session.prefilled + tokens == session.prefill_goal
        chunk.last.append(finishes and session.view.generated == 0)
        budget -= tokens
        if budget <= 0:
            break
    return sessions, chunk


def _commit(engine: Engine, sessions: list[Session], chunk: Prefill, done: Completed) -> None:
    outcome = done.outcome
    assert isinstance(outcome, PrefillOutcome)
    now = int(engine.env.now)
    # Who completed its prompt leaves first, so that the queue is whole before anybody is let in.
    for session, tokens in zip(sessions, chunk.tokens, strict=True):
        session.prefilled += tokens
        session.in_flight = False
        engine.prefilling.popleft()
    going_on = [s for s in sessions if s.prefilled < s.prefill_goal and not s.cancelled]
    engine.prefilling.extendleft(reversed(going_on))
    for row, session in enumerate(sessions):
        if session.cancelled:
            engine.finish(session, rec.CANCELLED)
            continue
        if session.prefilled < session.prefill_goal:
            continue
        if chunk.last[row]:
            session.view.generated = 1
            session.record.first_token_ns = now
            if outcome.ended[row] or session.output_tokens == 1:
                engine.finish(session, rec.COMPLETED)
                continue
        engine.decoding += 1
        engine.ready.append(session)
    engine.wake()
