"""The end of a round: what stands is committed, noted, and told to the policies."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.engine import records as rec
from spinsim.engine.catching_up import score_other_drafts
from spinsim.engine.current_round import Round
from spinsim.engine.engine import Engine
from spinsim.operations import Completed, Verify, VerifyOutcome, named
from spinsim.policies.base import Feedback, RequestView


def close_round(engine: Engine, current: Round, operation: Verify, done: Completed) -> None:
    """Commit what was verified; let requests that are through go, and the others be ready again."""
    now_ns = int(engine.env.now)
    accepted, committed = commit(current, done)
    requests, positions = current.requests, current.positions
    drafts, lengths = current.drafts, current.lengths
    times = current.assigned_ns, current.drafted_ns, done.started_ns, now_ns
    engine.log.round(
        (current.micro_batch, current.depth, len(current.batch), *times),
        operation.packing,
        (requests, positions, drafts, lengths, accepted, committed, current.catch_up_tokens),
    )
    round_s = (now_ns - current.assigned_ns) * 1e-9
    # The time of a pass that also takes in prompts says nothing of verification.
    verify_s = 0.0 if operation.chunk is not None else (done.finished_ns - done.started_ns) * 1e-9
    told = current.views, drafts, lengths, accepted, committed, current.draft_s, round_s, (), verify_s
    feedback = named(Feedback, told)
    if engine.lookups is not None:
        agreed = map(engine.lookups.agreed, requests, positions, committed)
        credit = credited(current.views, current.chosen, drafts)
        feedback = feedback._replace(agreed=list(agreed), drafts=credit)
    _learn(engine, current, feedback, now_ns)


def commit(current: Round, done: Completed) -> tuple[list[int], list[int]]:
    """Advance every request by what stands; returns (accepted, committed), both within the output."""
    outcome = done.outcome
    assert isinstance(outcome, VerifyOutcome)
    accepted: list[int] = []
    committed: list[int] = []
    asked = current.batch, current.drafts, current.lengths, current.contexts
    for session, draft, length, context, hits, stand in zip(
        *asked, outcome.accepted, outcome.ended, strict=True
    ):
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


def credited(views: Sequence[RequestView], chosen: Sequence[int], used: Sequence[int]) -> list[int]:
    """The drafts that a round tells of: a lookup that had nothing on offer was chosen all the same."""
    return [
        choice if choice >= 0 and view.offered[choice] == 0 else draft
        for view, choice, draft in zip(views, chosen, used, strict=True)
    ]


def _learn(engine: Engine, current: Round, feedback: Feedback, now_ns: int) -> None:
    """Tell the policies, and let the round's requests go on or end."""
    policies, batch = engine.policies, current.batch
    policies.selector.observe(feedback)
    policies.length.observe(feedback)
    full_information = policies.selector.full_information
    if full_information:
        _observe_own_hits(engine, feedback)
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


def _observe_own_hits(engine: Engine, feedback: Feedback) -> None:
    """What the round itself showed of the draft that was used."""
    for view, draft, length, accepted in zip(
        feedback.requests, feedback.drafts, feedback.lengths, feedback.accepted, strict=True
    ):
        if draft >= 0:
            miss = b"\x00" if accepted < length else b""
            engine.policies.selector.observe_hits(view, draft, b"\x01" * accepted + miss)
