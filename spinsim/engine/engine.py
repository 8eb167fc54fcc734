"""The life of requests: arrival, waiting room, admission, decoding, end. The same in both worlds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

import simpy

from spinsim.engine import records as rec
from spinsim.engine.draft_caches import DraftCaches
from spinsim.engine.kv import KvPools, kv_pools
from spinsim.engine.records import Records
from spinsim.engine.session import Session
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import NS, Lookups, World
from spinsim.operations import Completed, Operation
from spinsim.policies.build import Policies
from spinsim.workload.request import Request, Workload


class Engine:
    """Serves a workload with a set of policies on a world.

    :func:`~spinsim.engine.processes.start` creates the processes that share it; run the world's environment
    until ``done`` triggers.
    ``ended`` is called with the number of requests that have ended, for progress. ``pools``: the K/V
    memory, where the world looks into it too. ``lookups``: what drafters that look their proposals up have
    found.
    """

    def __init__(
        self,
        world: World,
        workload: Workload,
        policies: Policies,
        settings: EngineSettings,
        drafts: tuple[str, ...],
        *,
        ended: Callable[[int], None] | None = None,
        pools: KvPools | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        self.env = world.env
        self.world = world
        self.workload = workload
        self.policies = policies
        self.settings = settings
        self.records = Records(lanes=tuple((lane.name, lane.devices) for lane in world.lanes), drafts=drafts)
        self.done = self.env.event()
        self.sessions: dict[int, Session] = {}
        self.pools = pools or kv_pools(settings)
        self.lookups = lookups
        self.target_kv = self.pools.target
        self.caches = DraftCaches(self.pools.drafts, self.sessions)
        self.prefilling: deque[Session] = deque()
        self.ready: list[Session] = []  # decoding, in no round; longest waiting first
        self.decoding = 0  # ready or in a round
        self.admitted = 0  # holding a target slot
        self._waiting: list[tuple[tuple[int, ...], int, Session]] = []
        self._parked: dict[int, simpy.Event] = {}  # idle micro-batches
        self._prefill_bell: simpy.Event | None = None
        self._unsent = iter(workload.requests)
        self._ended = 0
        self._report = ended
        self._admissions = 0
        self._short = False  # the next request waits for memory
        self._impatient = False  # somebody in the engine has given up

    # --- arrival, admission, end ------------------------------------------------------------------

    def send_next(self) -> None:
        """A client of a closed loop sends its next request, if one is left."""
        request = next(self._unsent, None)
        if request is not None:
            self.arrive(request)

    def arrive(self, request: Request) -> None:
        """A request comes in: it waits, or is rejected where it could never be served."""
        now = int(self.env.now)
        session = Session(request, now, len(self.records.drafts))
        self.records.requests[request.id] = session.record
        self.records.last_arrival_ns = now
        if request.prompt_tokens + request.output_tokens > self.settings.context_tokens:
            self._close(session, rec.REJECTED)
            return
        self.sessions[request.id] = session
        if request.patience_s < float("inf"):
            expiry = self.env.timeout(round(request.patience_s * NS))
            expiry.callbacks.append(lambda _: self._lose_patience(session))
        self._wait(session)
        self.admit()

    def _wait(self, session: Session) -> None:
        session.waiting = True
        # A preempted request was admitted before everyone who still waits, and goes first.
        rank: tuple[int, ...] = (0, session.admission)
        if session.admission < 0:
            rank = (1, *self.policies.admission.key(session.view))
        heappush(self._waiting, (rank, session.view.id, session))

    def admit(self) -> None:
        """Let requests in, in the policy's order, while the batch limit and KV memory allow."""
        self._short = False
        while self._waiting and self.admitted < self.settings.batch_limit:
            session = self._waiting[0][2]
            if not session.waiting:  # gave up in the waiting room
                heappop(self._waiting)
                continue
            # Room for the first round too: else it could be preempted before it begins.
            room = session.prefill_goal + 1 + self.settings.max_length
            slot = self.target_kv.acquire(min(room, self.settings.context_tokens))
            if slot < 0:
                self._short = True
                break
            heappop(self._waiting)
            session.waiting = False
            session.view.slot = slot
            session.prefilled = 0
            self.admitted += 1
            if session.admission < 0:
                session.admission = self._admissions
                self._admissions += 1
                session.record.admitted_ns = int(self.env.now)
            self.prefilling.append(session)
            if self._prefill_bell is not None:
                bell, self._prefill_bell = self._prefill_bell, None
                bell.succeed()
        self.note_load()

    def note_load(self) -> None:
        """Record who is served and who waits: all that have arrived and neither ended nor were let in."""
        waiting = len(self.records.requests) - self._ended - self.admitted
        self.records.load.note(
            int(self.env.now), self.admitted, waiting, self._short, self.target_kv.used_tokens
        )

    def _lose_patience(self, session: Session) -> None:
        if session.record.finished_ns >= 0:
            return
        session.cancelled = True
        self._impatient = True
        if session.waiting:
            session.waiting = False
            self._close(session, rec.CANCELLED)
            self.note_load()

    def finish(self, session: Session, status: str) -> None:
        """End an admitted request: its memory is free, the next may come in."""
        self._leave(session)
        self._close(session, status)
        self.admit()

    def preempt(self, session: Session) -> None:
        """Take an admitted request's target memory away; it will be computed again from its tokens.

        No operation in flight may use it. What drafts hold of it stays valid, and may be evicted
        like anyone's.
        """
        if session in self.prefilling:
            self.prefilling.remove(session)
        else:
            self.decoding -= 1
            if session in self.ready:
                self.ready.remove(session)
        self._leave(session)
        session.record.preemptions += 1
        session.prefill_goal = max(session.view.context - 1, session.view.prompt_tokens)
        self._wait(session)

    def _leave(self, session: Session) -> None:
        self.target_kv.release(session.view.slot)
        session.view.slot = -1
        session.in_flight = False
        self.admitted -= 1

    def _close(self, session: Session, status: str) -> None:
        session.record.status = status
        session.record.finished_ns = int(self.env.now)
        session.record.output_tokens = session.view.generated
        self.policies.selector.forget(session.view.id)
        self.policies.length.forget(session.view.id)
        self.caches.drop_all(session)
        if not any(session.background):
            self.forget(session)
        self._ended += 1
        if self._report is not None:
            self._report(self._ended)
        if self._ended == len(self.workload.requests):
            self.records.ended_ns = int(self.env.now)
            self.done.succeed()
        elif self.workload.concurrency is not None:
            self.send_next()

    def forget(self, session: Session) -> None:
        """Nothing in flight knows the ended request any more."""
        self.sessions.pop(session.view.id, None)
        self.world.release(session.view.id)

    # --- decoding ---------------------------------------------------------------------------------

    def compose(self, index: int) -> list[Session]:
        """The next micro-batch of process ``index``; empty when it should rest."""
        pipeline = self.policies.pipeline
        depth = pipeline.depth()
        if index >= depth:
            return []
        if self._impatient:
            self._dismiss_cancelled()
        ready = self.ready
        if not ready:
            return []
        chosen = self.policies.composition.select([s.view for s in ready], self.decoding, depth)
        if len(chosen) == len(ready):
            batch, self.ready = ready, []
        else:
            batch = [ready[i] for i in chosen]
            taken = set(chosen)
            self.ready = [s for i, s in enumerate(ready) if i not in taken]
        for session in batch:
            session.in_flight = True
        return batch

    def _dismiss_cancelled(self) -> None:
        self._impatient = False
        leaving = [s for s in self.ready if s.cancelled]
        self.ready = [s for s in self.ready if not s.cancelled]
        for session in leaving:
            self.decoding -= 1
            self.finish(session, rec.CANCELLED)

    def park(self, index: int, *, in_turn: bool = True) -> simpy.Event:
        """An event for a resting micro-batch to wait for; ``in_turn``, another may have to take over."""
        if in_turn:
            self.wake()
        event = self._parked[index] = self.env.event()
        return event

    def wake(self) -> None:
        """Wake one resting micro-batch; having composed, it wakes the next if requests are left."""
        if self._parked and self.ready:
            index = min(self._parked)
            if index < self.policies.pipeline.depth():
                self._parked.pop(index).succeed()

    def await_prompts(self) -> simpy.Event:
        """An event for the prefill process to wait for."""
        self._prefill_bell = self.env.event()
        return self._prefill_bell

    # --- operations -------------------------------------------------------------------------------

    def submit(
        self, lane: int, operation: Operation, kind: int, model: int, micro_batch: int, rows: int, tokens: int
    ) -> tuple[simpy.Event, int]:
        """Queue an operation; returns its event and its id, for :meth:`completed`."""
        ops = self.records.operations
        ops.lane.append(lane)
        ops.kind.append(kind)
        ops.model.append(model)
        ops.micro_batch.append(micro_batch)
        ops.rows.append(rows)
        ops.tokens.append(tokens)
        ops.submitted_ns.append(int(self.env.now))
        ops.started_ns.append(-1)
        ops.finished_ns.append(-1)
        return self.world.submit(lane, operation), len(ops.lane) - 1

    def completed(self, operation: int, done: Completed) -> None:
        """Note when an operation ran."""
        self.records.operations.started_ns[operation] = done.started_ns
        self.records.operations.finished_ns[operation] = done.finished_ns
