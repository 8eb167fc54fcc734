"""Which requests keep K/V in which draft, and who makes room: least recently used first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spinsim.engine.kv import KvPool
from spinsim.engine.session import Session


class DraftCaches:
    """The KV pools of all drafts. A request enters a draft's cache at its first use."""

    def __init__(self, pools: Sequence[KvPool], sessions: Mapping[int, Session]) -> None:
        self.pools = pools
        self.keeps = [pool.keeps for pool in pools]  # K/V: a draft without has nothing to catch up with
        self._sessions = sessions
        # Requests of each draft in order of last use: a dict keeps insertion order.
        self._recency: list[dict[int, None]] = [{} for _ in pools]

    def place(self, session: Session, draft: int, tokens: int) -> int:
        """The request's slot with room for ``tokens``, evicting idle requests; -1 if impossible."""
        pool = self.pools[draft]
        recency = self._recency[draft]
        request = session.view.id
        slot = session.draft_slots[draft]
        if slot >= 0:
            del recency[request]
            recency[request] = None
            while not pool.grow(slot, tokens):
                if not self._evict_one(draft, keep=request):
                    return -1
            return slot
        while (slot := pool.acquire(tokens)) < 0:
            if not self._evict_one(draft, keep=request):
                return -1
        session.draft_slots[draft] = slot
        session.view.cached[draft] = 0
        recency[request] = None
        return slot

    def up_to_date(
        self, batch: Sequence[Session], draft: int, contexts: Sequence[int], lengths: Sequence[int]
    ) -> list[int] | None:
        """The slots of requests whose K/V a draft has, with room for ``lengths`` more and nothing missing.

        They count as used now. None, and nobody does, where that is not so of all.
        """
        pool = self.pools[draft]
        room, grows = pool.room, not pool.full
        slots = []
        for session, context, length in zip(batch, contexts, lengths, strict=True):
            slot = session.draft_slots[draft]
            if slot < 0 or context - session.view.cached[draft] > 2:  # the first step takes in two tokens
                return None
            if grows and context + length > room[slot] and not pool.grow(slot, context + length):
                return None  # somebody is evicted; who has grown meanwhile would have as well
            slots.append(slot)
        recency = self._recency[draft]
        for session in batch:
            request = session.view.id
            del recency[request]
            recency[request] = None
        return slots

    def _evict_one(self, draft: int, keep: int) -> bool:
        for request in self._recency[draft]:
            session = self._sessions[request]
            if request != keep and not session.in_flight and not session.background[draft]:
                self.drop(session, draft)
                return True
        return False

    def drop(self, session: Session, draft: int) -> None:
        """Forget a request's K/V in one draft."""
        slot = session.draft_slots[draft]
        if slot >= 0:
            self.pools[draft].release(slot)
            session.draft_slots[draft] = -1
            session.view.cached[draft] = 0
            del self._recency[draft][session.view.id]

    def drop_all(self, session: Session) -> None:
        """Forget a request everywhere, but where a catch-up is still in flight: its end does that."""
        for draft, slot in enumerate(session.draft_slots):
            if slot >= 0 and not session.background[draft]:
                self.drop(session, draft)
