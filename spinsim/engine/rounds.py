"""A micro-batch: assign, draft, verify, commit, tell the policies, again.

The number of such processes is the depth of the pipeline: while one verifies, another drafts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from operator import add
from typing import Any

import simpy

from spinsim.engine import records as rec
from spinsim.engine.drafting import (
    Speculation,
    observe_own_hits,
    score_other_drafts,
    settle_drafts,
    speculate,
)
from spinsim.engine.engine import Engine
from spinsim.engine.preemption import reserve_memory
from spinsim.engine.prefill import commit_chunk, next_chunk
from spinsim.engine.session import READY, Session
from spinsim.operations import Completed, Prefill, ProposeOutcome, Verify, VerifyOutcome, named
from spinsim.policies.base import Feedback, RequestView

VERIFY = rec.KINDS.index("verify")


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
    policies, lookups, merged = engine.policies, engine.lookups, engine.settings.merged_prefill
    assigned_ns = int(engine.env.now)
    depth = policies.pipeline.depth()
    views = [session.view for session in batch]
    requests = [view.id for view in views]
    positions = [view.generated for view in views]
    contexts = [view.prompt_tokens + view.generated for view in views]

    if lookups is not None:
        for view in views:
            view.matched, view.offered = lookups.at(view.id, view.generated)
    drafts = settle_drafts(engine, index, batch, policies.selector.assign(views))
    lengths = policies.length.lengths(views, drafts)
    ceilings = policies.ceilings(views, drafts)
    chosen = drafts if lookups is None else drafts.copy()
    wanted = index, batch, requests, contexts, drafts, lengths, ceilings
    proposals, catch_up_tokens = speculate(engine, named(Speculation, wanted))
    draft_s = [0.0] * len(batch)
    # Backwards: a lane ends its last proposal last, and who waited for it finds the others there.
    for proposed, noted, rows in reversed(proposals):
        done = proposed if isinstance(proposed, Completed) else (yield proposed)
        engine.completed(noted, done)
        seconds = (done.finished_ns - done.started_ns) * 1e-9
        for row in rows:
            draft_s[row] = seconds
        if done.outcome is not None:
            assert isinstance(done.outcome, ProposeOutcome)
            lengths = lengths.copy()  # the operation keeps what was asked for
            for row, offered in zip(rows, done.outcome.lengths, strict=True):
                lengths[row] = offered
    drafted_ns = int(engine.env.now)

    packing = policies.packing.plan(list(map(add, contexts, lengths)), [length + 1 for length in lengths])
    slots = [view.slot for view in views]
    sessions, chunk = _prompts_beside(engine, packing.query_tokens) if merged else ([], None)
    asked = requests, slots, contexts, positions, drafts, lengths, packing, chunk
    operation = named(Verify, asked)
    tokens = packing.query_tokens + (sum(chunk.tokens) if chunk is not None else 0)
    done, noted = engine.settle(engine.settings.target_lane, operation, VERIFY, -1, index, len(batch), tokens)
    thought = policies.thought()
    if thought is not None:
        engine.world.begin()
        thought()
    if not isinstance(done, Completed):
        done = yield done
    engine.completed(noted, done)

    now_ns = int(engine.env.now)
    accepted, committed = commit(batch, drafts, lengths, contexts, done)
    engine.log.round(
        (index, depth, len(batch), assigned_ns, drafted_ns, done.started_ns, now_ns),
        packing,
        (requests, positions, drafts, lengths, accepted, committed, catch_up_tokens),
    )
    round_s = (now_ns - assigned_ns) * 1e-9
    verify_s = 0.0 if chunk is not None else (done.finished_ns - done.started_ns) * 1e-9
    told = views, drafts, lengths, accepted, committed, draft_s, round_s, (), verify_s
    feedback = named(Feedback, told)
    if lookups is not None:
        agreed = map(lookups.agreed, requests, positions, committed)
        feedback = feedback._replace(agreed=list(agreed), drafts=credited(views, chosen, drafts))
    learn(engine, batch, feedback, now_ns)
    if chunk is not None:
        assert isinstance(done.outcome, VerifyOutcome)
        assert done.outcome.prompts is not None
        commit_chunk(engine, sessions, chunk, done.outcome.prompts)


def _prompts_beside(engine: Engine, queries: int) -> tuple[list[Session], Prefill | None]:
    """Prompts' chunk that goes into the pass, which has ``prefill_chunk_tokens`` for both."""
    budget = engine.settings.prefill_chunk_tokens - queries
    if not engine.state.prompts or budget <= 0:
        return [], None
    return next_chunk(engine, budget)


def credited(views: Sequence[RequestView], chosen: Sequence[int], used: Sequence[int]) -> list[int]:
    """The drafts that a round tells of: a lookup that had nothing on offer was chosen all the same."""
    return [
        choice if choice >= 0 and view.offered[choice] == 0 else draft
        for view, choice, draft in zip(views, chosen, used, strict=True)
    ]


def commit(
    batch: list[Session],
    drafts: list[int],
    lengths: list[int],
    contexts: list[int],
    done: Completed,
) -> tuple[list[int], list[int]]:
    """Advance every request by what stands; returns (accepted, committed), both within the output."""
    outcome = done.outcome
    assert isinstance(outcome, VerifyOutcome)
    accepted: list[int] = []
    committed: list[int] = []
    rows = zip(batch, drafts, lengths, contexts, outcome.accepted, outcome.ended, strict=True)
    for session, draft, length, context, hits, stand in rows:
        view = session.view
        record = session.record
        generated = view.generated
        remaining = session.output_tokens - generated
        if stand and stand < remaining:
            # End of text: what the model wanted to say is all there is.
            session.output_tokens = generated + stand
            remaining = stand
        if draft >= 0:
            # The cache holds the context and the proposals fed back (all but the last).
            view.cached[draft] = context + (hits if hits < length else length - 1 if length else 0)
            if view.draft != draft:
                if view.draft >= 0:
                    record.switches += 1
                view.draft = draft
        if hits < remaining:
            tokens = hits + 1
        else:
            hits = tokens = remaining
        view.generated = generated + tokens
        view.rounds += 1
        record.rounds += 1
        record.drafted += length
        record.accepted += hits
        accepted.append(hits)
        committed.append(tokens)
    return accepted, committed


def learn(engine: Engine, batch: list[Session], feedback: Feedback, now_ns: int) -> None:
    """Tell the policies; let requests that are through go, and the others be ready again."""
    policies = engine.policies
    policies.selector.observe(feedback)
    policies.length.observe(feedback)
    full_information = policies.selector.full_information
    if full_information:
        observe_own_hits(engine, feedback)
    staying = [s for s in batch if s.view.generated < s.output_tokens and not s.cancelled]
    if len(staying) < len(batch):
        for session in batch:
            if session.view.generated >= session.output_tokens:
                engine.finish(session, rec.COMPLETED)
            elif session.cancelled:
                engine.finish(session, rec.CANCELLED)
    engine.state.put_back(staying)
    policies.pipeline.observe(now_ns, sum(feedback.committed), engine.state.decoding)
    if full_information:
        score_other_drafts(engine, staying)
