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
        if not engine.state.prompts:
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
    sessions: list[Session] = []
    chunk = Prefill([], [], [], [], [])
    for session, tokens in engine.state.take_chunk(engine.settings.prefill_chunk_tokens):
        sessions.append(session)
        chunk.requests.append(session.view.id)
        chunk.slots.append(session.view.slot)
        chunk.starts.append(session.prefilled)
        chunk.tokens.append(tokens)
        # A preempted request has its first token already: its last chunk yields none.
        finishes = session.prefilled + tokens == session.prefill_goal
        chunk.last.append(finishes and session.view.generated == 0)
    return sessions, chunk


def _commit(engine: Engine, sessions: list[Session], chunk: Prefill, done: Completed) -> None:
    outcome = done.outcome
    assert isinstance(outcome, PrefillOutcome)
    now = int(engine.env.now)
    for row in engine.state.chunk_done(sessions, chunk.tokens):
        session = sessions[row]
        if session.cancelled:
            engine.finish(session, rec.CANCELLED)
            continue
        if chunk.last[row]:
            session.view.generated = 1
            session.record.first_token_ns = now
            if outcome.ended[row] or session.output_tokens == 1:
                engine.finish(session, rec.COMPLETED)
                continue
        engine.state.decode(session)
    engine.wake()
