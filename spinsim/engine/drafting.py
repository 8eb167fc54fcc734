"""Drafting for one round: who uses which draft, caches brought up to date, proposals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import simpy

from spinsim.engine import records as rec
from spinsim.engine.engine import Engine
from spinsim.engine.log import Noted
from spinsim.engine.session import Session
from spinsim.operations import CatchUp, CatchUpOutcome, Completed, Propose, named
from spinsim.policies.base import NO_DRAFT, Feedback

CATCH_UP = rec.KINDS.index("catch_up")
PROPOSE = rec.KINDS.index("propose")


# A proposal: its event while it is in flight, what was noted of it, and the rows of the batch it serves.
Proposal = tuple[simpy.Event | Completed, Noted, Sequence[int]]


class Speculation(NamedTuple):
    """Who drafts how much in one round of a micro-batch: parallel lists, a row a request."""

    micro_batch: int
    batch: list[Session]
    requests: list[int]  # their ids
    contexts: list[int]  # tokens of prompt and output before the round
    drafts: list[int]
    lengths: list[int]  # tokens to propose
    ceilings: list[float] | None  # entropies in nats at which proposals end, where they do


def settle_drafts(engine: Engine, index: int, batch: list[Session], wanted: list[int]) -> list[int]:
    """The drafts that propose this round.

    Blocking: those wanted. Overlapped: a request whose new draft lags behind by more than a
    round's tokens stays with its current one while the new one catches up beside it, and moves
    when that is done (SPIN's fast switching; where the lag is small enough to settle within the
    round is our reading).
    """
    if not engine.settings.overlapped:
        return wanted
    near = engine.settings.max_length + 2
    drafts: list[int] = []
    moving: dict[int, list[Session]] = {}
    for session, draft in zip(batch, wanted, strict=True):
        view = session.view
        if draft < 0 or view.draft < 0 or draft == view.draft:
            drafts.append(draft)
        elif session.background[draft]:
            drafts.append(view.draft)
        elif engine.caches.keeps[draft] and view.context - view.cached[draft] > near:
            drafts.append(view.draft)
            moving.setdefault(draft, []).append(session)
        else:
            drafts.append(draft)
    for draft, sessions in moving.items():
        catch_up_beside(engine, index, draft, sessions)
    return drafts


def speculate(engine: Engine, asked: Speculation) -> tuple[list[Proposal], list[int]]:
    """Submit catch-ups and proposals; returns the proposals and each row's catch-up tokens.

    A lane executes in order, so a proposal may follow its catch-up at once. Drafts and lengths of ``asked``
    are corrected in place: a proposal never runs past the context's limit or past what a lookup has on
    offer, and a row whose draft has nothing to propose, or no memory left for it, only decodes.
    """
    index, batch, _, contexts, drafts, lengths, _ = asked
    if max(drafts) < 0:  # nobody drafts
        lengths[:] = [0] * len(batch)
        return [], [0] * len(batch)
    at_once = _one_draft_for_all(engine, asked)
    if at_once is not None:
        return [at_once], [0] * len(batch)
    limit = engine.settings.context_tokens
    place, keeps = engine.caches.place, engine.caches.keeps
    catch_up_tokens = [0] * len(batch)
    slots: list[int] = []
    behind: dict[int, tuple[CatchUp, list[Session]]] = {}
    for row, (session, context, draft, length) in enumerate(
        zip(batch, contexts, drafts, lengths, strict=True)
    ):
        if draft < 0:
            lengths[row] = 0
            slots.append(-1)
            continue
        if length > limit - context:
            lengths[row] = length = limit - context
        offered = session.view.offered
        # A drafter that looks up for itself says what it found when it has; recordings say so beforehand.
        if offered and keeps[draft] and 0 <= offered[draft] < length:
            lengths[row] = length = offered[draft]
        if length <= 0:
            drafts[row] = NO_DRAFT
            lengths[row] = 0
            slots.append(-1)
            continue
        slot = place(session, draft, context + length)
        slots.append(slot)
        if slot < 0:
            drafts[row] = NO_DRAFT
            lengths[row] = 0
            continue
        missing = context - 1 - session.view.cached[draft]
        if missing > 1 and keeps[draft]:  # the first step takes in two tokens by itself
            if draft not in behind:
                behind[draft] = (CatchUp(draft, [], [], [], [], []), [])
            _add_catch_up(behind[draft][0], session, slot, missing)
            behind[draft][1].append(session)
            catch_up_tokens[row] = missing
    proposals: list[Proposal] = []
    lanes = engine.settings.draft_lanes
    found = _by_draft(asked, slots)
    submit = engine.settle if len(found) == 1 else engine.submit  # of several, each is waited for in turn
    for propose, rows in found:
        draft = propose.draft
        if draft in behind:
            _submit_catch_up(engine, index, *behind[draft])
        done, noted = submit(lanes[draft], propose, PROPOSE, draft, index, len(rows), max(propose.lengths))
        proposals.append((done, noted, rows))
    return proposals, catch_up_tokens


def _one_draft_for_all(engine: Engine, asked: Speculation) -> Proposal | None:
    """The usual round by a shorter way: one draft for all, which is up to date. None where it is not so."""
    index, batch, requests, contexts, drafts, lengths, ceilings = asked
    draft, rows = drafts[0], len(batch)
    if draft < 0 or drafts.count(draft) < rows or engine.lookups is not None:
        return None
    if min(lengths) <= 0 or max(lengths) > engine.settings.context_tokens - max(contexts):
        return None
    slots = engine.caches.up_to_date(batch, draft, contexts, lengths)
    if slots is None:
        return None
    propose = named(Propose, (draft, requests, slots, contexts, lengths, ceilings))
    lane = engine.settings.draft_lanes[draft]
    return *engine.settle(lane, propose, PROPOSE, draft, index, rows, max(lengths)), range(rows)


def _by_draft(asked: Speculation, slots: list[int]) -> Collection[tuple[Propose, Sequence[int]]]:
    """One proposal for each draft, in order of first use, and the rows of the batch it serves."""
    _, _, requests, contexts, drafts, lengths, ceilings = asked
    first = drafts[0]
    if first >= 0 and drafts.count(first) == len(drafts):
        return ((Propose(first, requests, slots, contexts, lengths, ceilings), range(len(drafts))),)
    groups: dict[int, tuple[Propose, list[int]]] = {}
    for row, draft in enumerate(drafts):
        if draft < 0:
            continue
        group = groups.get(draft)
        if group is None:
            own = None if ceilings is None else [ceilings[row]]
            propose = Propose(draft, [requests[row]], [slots[row]], [contexts[row]], [lengths[row]], own)
            groups[draft] = (propose, [row])
            continue
        (_, its_requests, its_slots, its_contexts, its_lengths, its_ceilings), rows = group
        its_requests.append(requests[row])
        its_slots.append(slots[row])
        its_contexts.append(contexts[row])
        its_lengths.append(lengths[row])
        if ceilings is not None and its_ceilings is not None:
            its_ceilings.append(ceilings[row])
        rows.append(row)
    return groups.values()


def catch_up_beside(engine: Engine, index: int, draft: int, sessions: list[Session]) -> None:
    """Bring requests' K/V in a draft up to date while their rounds go on."""
    operation = CatchUp(draft, [], [], [], [], [])
    going: list[Session] = []
    for session in sessions:
        view = session.view
        slot = engine.caches.place(session, draft, view.context)
        missing = view.context - 1 - view.cached[draft]
        if slot >= 0 and missing > 0:
            _add_catch_up(operation, session, slot, missing)
            going.append(session)
    if going:
        _submit_catch_up(engine, index, operation, going)


def _add_catch_up(operation: CatchUp, session: Session, slot: int, missing: int) -> None:
    view = session.view
    draft = operation.draft
    operation.requests.append(view.id)
    operation.slots.append(slot)
    operation.prompts.append(view.prompt_tokens)
    operation.starts.append(view.cached[draft])
    operation.tokens.append(missing)
    # The lane executes in order: whatever is submitted after this finds the tokens there.
    view.cached[draft] += missing
    session.background[draft] += 1
    session.record.catch_up_tokens += missing


def _submit_catch_up(engine: Engine, index: int, operation: CatchUp, sessions: list[Session]) -> None:
    draft = operation.draft
    event, noted = engine.submit(
        engine.settings.draft_lanes[draft],
        operation,
        CATCH_UP,
        draft,
        index,
        len(sessions),
        sum(operation.tokens),
    )

    def done(event: simpy.Event) -> None:
        if not event.ok:
            return
        completed = event.value
        assert isinstance(completed, Completed)
        engine.completed(noted, completed)
        outcome = completed.outcome
        assert isinstance(outcome, CatchUpOutcome)
        for row, session in enumerate(sessions):
            session.background[draft] -= 1
            if session.record.finished_ns >= 0:
                _drop_late(engine, session, draft)
            elif engine.policies.selector.full_information:
                engine.policies.selector.observe_hits(session.view, draft, outcome.hits[row])

    assert event.callbacks is not None
    event.callbacks.append(done)


def _drop_late(engine: Engine, session: Session, draft: int) -> None:
    """The request ended during the catch-up: now nobody uses the slot."""
    if session.background[draft] == 0:
        engine.caches.drop(session, draft)
    if not any(session.background):
        engine.forget(session)


def observe_own_hits(engine: Engine, feedback: Feedback) -> None:
    """What the round itself showed of the draft that was used."""
    for view, draft, length, accepted in zip(
        feedback.requests, feedback.drafts, feedback.lengths, feedback.accepted, strict=True
    ):
        if draft >= 0:
            miss = b"\x00" if accepted < length else b""
            engine.policies.selector.observe_hits(view, draft, b"\x01" * accepted + miss)


def score_other_drafts(engine: Engine, sessions: list[Session]) -> None:
    """Full information: every other draft reads the tokens just committed, and is scored on them."""
    for draft in range(len(engine.drafts)):
        others = [s for s in sessions if s.view.draft != draft]
        if others:
            catch_up_beside(engine, -1, draft, others)
