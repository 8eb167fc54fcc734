"""Prompts enter the target's KV cache in chunks, between the verifications on its lane."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from spinsim.engine import records as rec
from spinsim.engine.engine import Engine
from spinsim.engine.records import NO_ROUND
from spinsim.engine.session import Session
from spinsim.operations import Completed, Prefill, PrefillOutcome


def prefill(engine: Engine) -> Generator[simpy.Event, Any, None]:
    """One chunk at a time, so that a verification waits for one chunk at the most.

    A chunk takes prompts first come, first served, up to ``prefill_chunk_tokens`` in all. Where chunks go
    into the passes that verify, only those have passes of their own that nothing decodes beside.
    """
    merged = engine.settings.merged_prefill
    while True:
        if not engine.state.prompts or (merged and engine.state.decoding):
            yield engine.await_prompts()
            continue
        sessions, operation = next_chunk(engine, engine.settings.prefill_chunk_tokens)
        done, noted = engine.settle(operation, NO_ROUND)
        if not isinstance(done, Completed):
            done = yield done
        engine.completed(noted, done)
        assert isinstance(done.outcome, PrefillOutcome)
        commit_chunk(engine, sessions, operation, done.outcome)


def next_chunk(engine: Engine, budget: int) -> tuple[list[Session], Prefill]:
    """The next prompts' chunk of up to ``budget`` tokens."""
    sessions: list[Session] = []
    chunk = Prefill([], [], [], [], [])
    for session, tokens in engine.state.take_chunk(budget):
        sessions.append(session)
        chunk.requests.append(session.view.id)
        chunk.slots.append(session.view.slot)
        chunk.starts.append(session.prefilled)
        chunk.tokens.append(tokens)
        # A preempted request has its first token already: its last chunk yields none.
        finishes = session.prefilled + tokens == session.prefill_goal
        chunk.last.append(finishes and session.view.generated == 0)
    return sessions, chunk


def commit_chunk(engine: Engine, sessions: list[Session], chunk: Prefill, outcome: PrefillOutcome) -> None:
    """The chunk is in the target's cache: prompts that are whole begin to decode."""
    now = int(engine.env.now)
    for row in engine.state.chunk_done(sessions, chunk.tokens):
        session = sessions[row]
        if session.cancelled:
            engine.finish(session, rec.CANCELLED)
            continue
        if engine.state.prefix is not None:
            engine.state.prefix.keep(session.request)
        if chunk.last[row]:
            session.view.generated = 1
            session.record.first_token_ns = now
            if outcome.ended[row] or session.output_tokens == 1:
                engine.finish(session, rec.COMPLETED)
                continue
        engine.state.decode(session)
    engine.wake()
