"""A micro-batch: assign, draft, verify, commit, tell the policies, again.

The number of such processes is the depth of the pipeline: while one verifies, another drafts.
"""

from __future__ import annotations

from collections.abc import Generator
from operator import add
from typing import Any

import simpy

from spinsim.engine.committing import close_round
from spinsim.engine.current_round import Round
from spinsim.engine.drafting import assign, speculate
from spinsim.engine.engine import Engine
from spinsim.engine.preemption import reserve_memory
from spinsim.engine.prefill import commit_chunk, next_chunk
from spinsim.engine.session import READY, Session
from spinsim.operations import Completed, Prefill, Verify, VerifyOutcome, named


def micro_batch(engine: Engine, index: int) -> Generator[simpy.Event, Any, None]:
    """Rounds without end; rests while there is nothing to decode or the pipeline is shallower."""
    while True:
        batch = engine.compose(index)
        if not batch:
            if engine.settings.merged_prefill:
                engine.ring_for_prompts()  # nothing decodes: prompts have passes of their own
            yield engine.park(index)
            continue
        if engine.settings.reserve == "grow":
            composed, batch = batch, reserve_memory(engine, batch)
            if not batch:
                # Something in flight has the memory, and who brings it back looks again; or the whole
                # batch was preempted, and the others may go. To wake them otherwise would never end.
                waits = any(session.place == READY for session in composed)
                yield engine.park(index, in_turn=not waits)
                continue
        engine.wake()  # requests are left: the next micro-batch may have them
        yield from play_round(engine, index, batch)


def play_round(engine: Engine, index: int, batch: list[Session]) -> Generator[simpy.Event, Any, None]:
    """One round of one micro-batch."""
    current = Round(index, batch, engine.policies.pipeline.depth(), int(engine.env.now))
    assign(engine, current)
    # Backwards: a lane ends its last proposal last, and who waited for it finds the others there.
    for proposed, noted, rows in reversed(speculate(engine, current)):
        done = proposed if isinstance(proposed, Completed) else (yield proposed)
        engine.completed(noted, done)
        current.proposed(rows, done)
    current.drafted_ns = int(engine.env.now)

    operation, prompts = _verification(engine, current)
    verified, noted = engine.settle(operation, index)
    think = engine.policies.thought()
    if think is not None:
        engine.world.begin()
        think()
    done = verified if isinstance(verified, Completed) else (yield verified)
    engine.completed(noted, done)
    close_round(engine, current, operation, done)
    if operation.chunk is not None:
        assert isinstance(done.outcome, VerifyOutcome)
        assert done.outcome.prompts is not None
        commit_chunk(engine, prompts, operation.chunk, done.outcome.prompts)


def _verification(engine: Engine, current: Round) -> tuple[Verify, list[Session]]:
    """The pass that verifies what was proposed, and the requests of which it takes in a prompt's chunk."""
    lengths, contexts = current.lengths, current.contexts
    queries = [length + 1 for length in lengths]
    packing = engine.policies.packing.plan(list(map(add, contexts, lengths)), queries)
    slots = [view.slot for view in current.views]
    merged = engine.settings.merged_prefill
    prompts, chunk = _prompts_beside(engine, packing.query_tokens) if merged else ([], None)
    asked = current.requests, slots, contexts, current.positions, current.drafts, lengths, packing, chunk
    return named(Verify, asked), prompts


def _prompts_beside(engine: Engine, queries: int) -> tuple[list[Session], Prefill | None]:
    """Prompts' chunk that goes into the pass, which has ``prefill_chunk_tokens`` for both."""
    budget = engine.settings.prefill_chunk_tokens - queries
    if not engine.state.prompts or budget <= 0:
        return [], None
    return next_chunk(engine, budget)
