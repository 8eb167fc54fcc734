"""Drafting for one round: who uses which draft, caches brought up to date, proposals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import simpy

from spinsim.engine.catching_up import Behind, catch_up_beside
from spinsim.engine.current_round import Round
from spinsim.engine.engine import Engine
from spinsim.engine.log import Noted
from spinsim.engine.session import Session
from spinsim.operations import Completed, Propose, named
from spinsim.policies.base import NO_DRAFT

# A proposal: its event while it is in flight, what was noted of it, and the rows of the batch it serves.
Proposal = tuple[simpy.Event | Completed, Noted, Sequence[int]]


def assign(engine: Engine, current: Round) -> None:
    """Ask the policies which drafts propose in this round, how much, and where proposals end early."""
    policies, lookups, views = engine.policies, engine.lookups, current.views
    if lookups is not None:
        for view in views:
            view.matched, view.offered = lookups.at(view.id, view.generated)
    drafts = settle_drafts(engine, current, policies.selector.assign(views))
    current.drafts = drafts
    current.lengths = policies.length.lengths(views, drafts)
    current.ceilings = policies.ceilings(views, drafts)
    current.chosen = drafts if lookups is None else drafts.copy()


def settle_drafts(engine: Engine, current: Round, wanted: list[int]) -> list[int]:
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
    for session, draft in zip(current.batch, wanted, strict=True):
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
        catch_up_beside(engine, current.micro_batch, draft, sessions)
    return drafts


def speculate(engine: Engine, current: Round) -> list[Proposal]:
    """Submit catch-ups and proposals, and return the proposals.

    A lane executes in order, so a proposal may follow its catch-up at once. Drafts and lengths of the round
    are corrected in place: a proposal never runs past the context's limit or past what a lookup has on
    offer, and a row whose draft has nothing to propose, or no memory left for it, only decodes.
    """
    at_once = _one_draft_for_all(engine, current)
    if at_once is not None:
        return [at_once]
    if max(current.drafts) < 0:  # nobody drafts
        current.lengths[:] = [0] * len(current.batch)
        return []
    slots, behind = _make_room(engine, current)
    found = _by_draft(current, slots)
    submit = engine.settle if len(found) == 1 else engine.submit  # of several, each is waited for in turn
    proposals: list[Proposal] = []
    for propose, rows in found:
        if propose.draft in behind:
            behind[propose.draft].submit(engine, current.micro_batch)
        proposals.append((*submit(propose, current.micro_batch), rows))
    return proposals


def _one_draft_for_all(engine: Engine, current: Round) -> Proposal | None:
    """The usual round by a shorter way: one draft for all, which is up to date. None where it is not so."""
    drafts, lengths, contexts = current.drafts, current.lengths, current.contexts
    draft, rows = drafts[0], len(drafts)
    if draft < 0 or drafts.count(draft) < rows or engine.lookups is not None:
        return None
    if min(lengths) <= 0 or max(lengths) > engine.settings.context_tokens - max(contexts):
        return None
    slots = engine.caches.up_to_date(current.batch, draft, contexts, lengths)
    if slots is None:
        return None
    propose = named(Propose, (draft, current.requests, slots, contexts, lengths, current.ceilings))
    return *engine.settle(propose, current.micro_batch), range(rows)


def _make_room(engine: Engine, current: Round) -> tuple[list[int], dict[int, Behind]]:
    """Each row's slot at its draft, -1 for rows that only decode; and by draft, who has to catch up first.

    Sets drafts and lengths of the rows that cannot propose, or not as much.
    """
    limit = engine.settings.context_tokens
    place, keeps = engine.caches.place, engine.caches.keeps
    drafts, lengths = current.drafts, current.lengths
    slots = [-1] * len(drafts)
    behind: dict[int, Behind] = {}
    rows = enumerate(zip(current.batch, current.contexts, drafts, lengths, strict=True))
    for row, (session, context, draft, length) in rows:
        if draft < 0:
            lengths[row] = 0
            continue
        if length > limit - context:
            lengths[row] = length = limit - context
        offered = session.view.offered
        # A drafter that looks up for itself says what it found when it has; recordings say so beforehand.
        if offered and keeps[draft] and 0 <= offered[draft] < length:
            lengths[row] = length = offered[draft]
        slots[row] = slot = place(session, draft, context + length) if length > 0 else -1
        if slot < 0:
            drafts[row] = NO_DRAFT
            lengths[row] = 0
            continue
        missing = context - 1 - session.view.cached[draft]
        if missing > 1 and keeps[draft]:  # the first step takes in two tokens by itself
            if draft not in behind:
                behind[draft] = Behind(draft)
            behind[draft].add(session, slot, missing)
            current.catch_up_tokens[row] = missing
    return slots, behind


def _by_draft(current: Round, slots: list[int]) -> Collection[tuple[Propose, Sequence[int]]]:
    """One proposal for each draft, in order of first use, and the rows of the batch it serves."""
    drafts, ceilings = current.drafts, current.ceilings
    columns = current.requests, slots, current.contexts, current.lengths
    first = drafts[0]
    if first >= 0 and drafts.count(first) == len(drafts):
        return ((Propose(first, *columns, ceilings), range(len(drafts))),)
    groups: dict[int, tuple[Propose, list[int]]] = {}
    for row, (draft, request, slot, context, length) in enumerate(zip(drafts, *columns, strict=True)):
        if draft < 0:
            continue
        group = groups.get(draft)
        if group is None:
            none_yet = Propose(draft, [], [], [], [], None if ceilings is None else [])
            group = groups[draft] = none_yet, []
        propose, rows = group
        propose.requests.append(request)
        propose.slots.append(slot)
        propose.contexts.append(context)
        propose.lengths.append(length)
        if ceilings is not None and propose.ceilings is not None:
            propose.ceilings.append(ceilings[row])
        rows.append(row)
    return groups.values()
