"""Where every request stands and what it holds: the one owner of queues, counters and K/V memory.

A request is in one place at a time. The verbs below move it, and whoever moves it counts it:

    waiting -> prompt <-> chunk -> ready <-> round

From every place it may end; from prompt, ready and round it may be preempted, back to waiting. No clock, no
events, no policies: :mod:`spinsim.engine.engine` has those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from spinsim.engine.draft_caches import DraftCaches
from spinsim.engine.kv import KvPools
from spinsim.engine.prefix_cache import PrefixCache
from spinsim.engine.session import CHUNK, ENDED, PROMPT, READY, ROUND, WAITING, Session
from spinsim.engine.settings import EngineSettings


class EngineState:
    """The requests of one run. Others read its fields, and change them by its verbs alone."""

    def __init__(self, settings: EngineSettings, pools: KvPools) -> None:
        self.settings = settings
        self.pools = pools
        self.target_kv = pools.target
        self.sessions: dict[int, Session] = {}  # that some operation, in flight or to come, may name
        block = settings.prefix_block_tokens
        self.prefix = PrefixCache(self.target_kv, block) if block else None
        self.prefix_tokens = 0  # of prompts, found in the prefix cache
        self.caches = DraftCaches(pools.drafts, self.sessions)
        self.prompts: deque[Session] = deque()  # in place prompt or chunk; those in a chunk come first
        self.ready: list[Session] = []  # longest waiting first
        self.in_rounds = 0
        self.admitted = 0  # holding a slot of the target
        self.ended = 0
        self._waiting: list[tuple[tuple[int, ...], int, Session]] = []
        self._admissions = 0
        self._impatient = False  # somebody ready may have given up
        self.short = False  # the next request waits for memory

    @property
    def decoding(self) -> int:
        """Requests whose prompts are in: ready, or in a round."""
        return len(self.ready) + self.in_rounds

    # --- the waiting room -------------------------------------------------------------------------

    def enter(self, session: Session, rank: tuple[int, ...]) -> None:
        """A new request waits. The lowest rank is admitted first, the earliest of equals."""
        self.sessions[session.view.id] = session
        heappush(self._waiting, ((1, *rank), session.view.id, session))

    def admit(self, now_ns: int) -> bool:
        """Let requests in while the batch limit and K/V memory allow. Was anybody let in?"""
        settings = self.settings
        before = self.admitted
        self.short = False
        while self._waiting and self.admitted < settings.batch_limit:
            session = self._waiting[0][2]
            if session.place == ENDED:  # gave up in the waiting room
                heappop(self._waiting)
                continue
            # Room for the first round too: else it could be preempted before it begins.
            room = session.prefill_goal + 1 + settings.max_length
            slot = self.target_kv.acquire(min(room, settings.context_tokens))
            if slot < 0:
                self.short = True
                break
            heappop(self._waiting)
            session.view.slot = slot
            session.prefilled = 0
            if self.prefix is not None:
                session.prefilled = self.prefix.take(session.request)
                self.prefix_tokens += session.prefilled
            session.place = PROMPT
            self.prompts.append(session)
            self.admitted += 1
            if session.admission < 0:
                session.admission = self._admissions
                self._admissions += 1
                session.record.admitted_ns = now_ns
        return self.admitted > before

    # --- prompts ----------------------------------------------------------------------------------

    def take_chunk(self, budget: int) -> list[tuple[Session, int]]:
        """The next prompts, first come, first served, and how many of ``budget`` tokens each may have."""
        chunk: list[tuple[Session, int]] = []
        for session in self.prompts:
            tokens = min(session.prefill_goal - session.prefilled, budget)
            session.place = CHUNK
            chunk.append((session, tokens))
            budget -= tokens
            if budget <= 0:
                break
        return chunk

    def chunk_done(self, sessions: Sequence[Session], tokens: Sequence[int]) -> list[int]:
        """A chunk is in. The rows whose prompt is whole, or who gave up: the caller moves them on."""
        # They leave first, so that the queue is whole before anybody is let in.
        through: list[int] = []
        going_on: list[Session] = []
        for row, (session, new) in enumerate(zip(sessions, tokens, strict=True)):
            session.prefilled += new
            self.prompts.popleft()
            if session.cancelled or session.prefilled == session.prefill_goal:
                through.append(row)
            else:
                session.place = PROMPT
                going_on.append(session)
        self.prompts.extendleft(reversed(going_on))
        return through

    # --- rounds -----------------------------------------------------------------------------------

    def decode(self, session: Session) -> None:
        """A request whose prompt is in waits for its first round."""
        session.place = READY
        self.ready.append(session)

    def take(self, chosen: Sequence[int]) -> list[Session]:
        """The ready requests at these indices, in this order, go into a round."""
        ready = self.ready
        if len(chosen) == len(ready):
            batch, self.ready = ready, []
        else:
            batch = [ready[i] for i in chosen]
            taken = set(chosen)
            self.ready = [s for i, s in enumerate(ready) if i not in taken]
        for session in batch:
            session.place = ROUND
        self.in_rounds += len(batch)
        return batch

    def put_back(self, sessions: list[Session], *, first: bool = False) -> None:
        """Requests leave a round and are ready again: behind the others, or ``first``."""
        for session in sessions:
            session.place = READY
        self.in_rounds -= len(sessions)
        if first:
            self.ready = sessions + self.ready
        else:
            self.ready.extend(sessions)

    def give_up(self, session: Session) -> None:
        """A client's patience is over. What is in flight goes on; :meth:`end` follows at the next commit."""
        session.cancelled = True
        self._impatient = True

    def take_cancelled(self) -> list[Session]:
        """Those of the ready who gave up, out of the queue as if for a round."""
        if not self._impatient:
            return []
        self._impatient = False
        return self.take([i for i, session in enumerate(self.ready) if session.cancelled])

    # --- memory taken away, and ends --------------------------------------------------------------

    def preempt(self, session: Session) -> None:
        """Take an admitted request's target memory away; it will be computed again from its tokens.

        No operation in flight may use it. What drafts hold of it stays valid, and may be evicted like
        anyone's. It was admitted before everyone who still waits, and goes first.
        """
        if session.place == PROMPT:
            self.prompts.remove(session)
        elif session.place == READY:
            self.ready.remove(session)
        self._release(session)
        session.place = WAITING
        session.record.preemptions += 1
        session.prefill_goal = max(session.view.context - 1, session.view.prompt_tokens)
        heappush(self._waiting, ((0, session.admission), session.view.id, session))

    def end(self, session: Session, status: str, now_ns: int) -> None:
        """A request ends, from the waiting room, a chunk or a round: what it held is free."""
        if session.place != WAITING:
            self._release(session)
        session.place = ENDED
        record = session.record
        record.status = status
        record.finished_ns = now_ns
        record.output_tokens = session.view.generated
        self.caches.drop_all(session)
        self.ended += 1

    def _release(self, session: Session) -> None:
        if session.place == ROUND:
            self.in_rounds -= 1
        self.target_kv.release(session.view.slot)
        session.view.slot = -1
        self.admitted -= 1
        if self.prefix is not None:
            self.prefix.leave(session.request)
