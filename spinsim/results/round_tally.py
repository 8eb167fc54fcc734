"""What happened in the rounds of the window, counted in one pass over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.results.blocks import RoundBlock, by_request, round_blocks
from spinsim.results.columns import Floats, Ints, draft_labels
from spinsim.results.window import Window

SLICES = 64  # equal parts of the window, in which tokens are counted for intervals
Totals = NDArray[np.int64]


class RoundTally:
    """Counts over rounds that committed within the window; a row is one request in one round.

    Arms are drafts and, last, none. A row with a draft is a verification: its proposal was checked, which is
    empty where a lookup found nothing.
    """

    def __init__(self, records: Records, window: Window) -> None:
        arms = len(draft_labels(records))
        self.rounds = self.rows = self.switches = 0
        # by arm
        self.by_arm = np.zeros(arms, dtype=np.int64)
        self.drafted, self.accepted, self.committed = (np.zeros(arms, dtype=np.int64) for _ in range(3))
        # of verifications: how often each number was drafted and accepted
        self.drafted_histogram = self.accepted_histogram = np.zeros(0, dtype=np.int64)
        # by slice of the window: tokens of all rows, tokens of verifications, and verifications
        self.tokens_in, self.verified_in, self.verifications_in = (np.zeros(SLICES) for _ in range(3))
        last_draft = np.full(1 + max(records.requests, default=-1), -1, dtype=np.int64)
        for block in round_blocks(records.rounds):
            self._count(block, last_draft, window)

    def _count(self, block: RoundBlock, last_draft: Ints, window: Window) -> None:
        r = block.rounds
        request, draft = block.row(r.request), block.row(r.draft)
        at = block.header(r.committed_ns)
        inside = window.holds(at)
        switched = _switched(request, draft, last_draft)
        drafted, accepted, committed = (block.row(c) for c in (r.drafted, r.accepted, r.committed))
        slot = block.spread(slots_of(at / NS, window)) if window.seconds > 0 else None
        if not inside.all():
            keep = block.spread(inside)
            draft, drafted, accepted, committed, switched = (
                column[keep] for column in (draft, drafted, accepted, committed, switched)
            )
            slot = None if slot is None else slot[keep]
        self.rounds += int(inside.sum())
        self.rows += int(draft.size)
        self.switches += int(switched.sum())
        arms = self.by_arm.size
        arm = np.where(draft < 0, arms - 1, draft)
        self.by_arm += np.bincount(arm, minlength=arms)
        for total, column in (
            (self.drafted, drafted),
            (self.accepted, accepted),
            (self.committed, committed),
        ):
            total += _summed(arm, column, arms)
        verified = draft >= 0
        some = not verified.all()
        self.drafted_histogram = _longer(self.drafted_histogram, drafted[verified] if some else drafted)
        self.accepted_histogram = _longer(self.accepted_histogram, accepted[verified] if some else accepted)
        if slot is not None:
            self.tokens_in += np.bincount(slot, committed, SLICES)
            if some:
                slot, committed = slot[verified], committed[verified]
            self.verified_in += np.bincount(slot, committed, SLICES)
            self.verifications_in += np.bincount(slot, minlength=SLICES)

    @property
    def verifications(self) -> int:
        """Rows with a draft."""
        return int(self.by_arm[:-1].sum())


def slots_of(moments_s: Floats, window: Window) -> Any:
    """In which of ``SLICES`` equal parts of the window each moment lies."""
    share = (moments_s - window.start_ns / NS) / window.seconds
    return np.clip((share * SLICES).astype(np.int64), 0, SLICES - 1)


def _switched(request: Ints, draft: Ints, last_draft: Ints) -> NDArray[np.bool_]:
    """Rows whose draft differs from the request's last one; rounds without a draft change nothing.

    ``last_draft`` by request, -1 where it had none; it is brought up to date.
    """
    out = np.zeros(draft.size, dtype=np.bool_)
    rows = np.flatnonzero(draft >= 0)
    rows = rows[by_request(request[rows])]
    if not rows.size:
        return out
    request, chosen = request[rows], draft[rows]
    begins = np.concatenate(([True], request[1:] != request[:-1]))
    before = np.concatenate((chosen[:1], chosen[:-1])).astype(np.int64)
    before[begins] = last_draft[request[begins]]
    out[rows] = (before >= 0) & (before != chosen)
    ends = np.concatenate((begins[1:], [True]))
    last_draft[request[ends]] = chosen[ends]
    return out


def _summed(group: Ints, values: Ints, groups: int) -> Totals:
    """Sums by group: whole numbers, which floats hold exactly."""
    return np.bincount(group, values, groups).astype(np.int64)


def _longer(histogram: Totals, values: Ints) -> Totals:
    more = np.bincount(values, minlength=histogram.size) if values.size else histogram[:0]
    if more.size < histogram.size:
        return histogram
    total = more.astype(np.int64)
    total[: histogram.size] += histogram
    return total
