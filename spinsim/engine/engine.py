"""What an engine's processes share: state, policies, world and records, and how they wake each other."""

from __future__ import annotations

from collections.abc import Callable

import simpy

from spinsim.engine import records as rec
from spinsim.engine.kv import KvPools, kv_pools
from spinsim.engine.log import Log, Noted
from spinsim.engine.records import Records
from spinsim.engine.session import ENDED, WAITING, Session
from spinsim.engine.settings import EngineSettings
from spinsim.engine.state import EngineState
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
        lanes = tuple((lane.name, lane.devices) for lane in world.lanes)
        self.drafts = settings.drafts
        self._records = Records(lanes=lanes, drafts=settings.drafts)
        self.log = Log(self._records)
        self.done = self.env.event()
        self.state = EngineState(settings, pools or kv_pools(settings))
        self.caches = self.state.caches
        self._lanes = (*settings.draft_lanes, settings.target_lane)  # by model: -1 is the target
        self.lookups = lookups
        self._parked: dict[int, simpy.Event] = {}  # idle micro-batches
        self._prefill_bell: simpy.Event | None = None
        self._unsent = iter(workload.requests)
        self._report = ended

    @property
    def records(self) -> Records:
        """All that has happened so far."""
        self.log.flush()
        return self._records

    # --- arrival, admission, end ------------------------------------------------------------------

    def send_next(self) -> None:
        """A client of a closed loop sends its next request, if one is left; of rejected ones, one by one."""
        for request in self._unsent:
            if self.arrive(request):
                break

    def arrive(self, request: Request) -> bool:
        """A request comes in: it waits, or is rejected where it could never be served. Does it wait?"""
        now = int(self.env.now)
        session = Session(request, now, len(self.drafts))
        self._records.requests[request.id] = session.record
        self._records.last_arrival_ns = now
        if request.prompt_tokens + request.output_tokens > self.settings.context_tokens:
            self._close(session, rec.REJECTED)
            return False
        if request.patience_s < float("inf"):
            expiry = self.env.timeout(round(request.patience_s * NS))
            expiry.callbacks.append(lambda _: self._lose_patience(session))
        self.state.enter(session, self.policies.admission.key(session.view))
        self.admit()
        return True

    def admit(self) -> None:
        """Let requests in, in the policy's order, while the batch limit and KV memory allow."""
        if self.state.admit(int(self.env.now)):
            self._records.prefix_tokens = self.state.prefix_tokens
            self.ring_for_prompts()
        self.note_load()

    def note_load(self) -> None:
        """Record who is served and who waits: all that have arrived and neither ended nor were let in."""
        state = self.state
        waiting = len(self._records.requests) - state.ended - state.admitted
        self._records.load.note(
            int(self.env.now), state.admitted, waiting, state.short, state.target_kv.used_tokens
        )

    def _lose_patience(self, session: Session) -> None:
        if session.place == ENDED:
            return
        self.state.give_up(session)
        if session.place == WAITING:
            self._close(session, rec.CANCELLED)
            self.admit()  # it may have held up requests that need less memory

    def finish(self, session: Session, status: str) -> None:
        """End an admitted request: its memory is free, the next may come in."""
        self._close(session, status)
        self.admit()

    def _close(self, session: Session, status: str) -> None:
        now_ns = int(self.env.now)
        self.state.end(session, status, now_ns)
        self.policies.selector.forget(session.view.id)
        self.policies.length.forget(session.view.id)
        if not any(session.background):
            self.forget(session)
        ended = self.state.ended
        if self._report is not None:
            self._report(ended)
        if ended == len(self.workload.requests):
            self._records.ended_ns = now_ns
            self.done.succeed()
        elif self.workload.concurrency is not None and status != rec.REJECTED:
            self.send_next()  # who was rejected at once is sending already

    def forget(self, session: Session) -> None:
        """Nothing in flight knows the ended request any more."""
        self.state.sessions.pop(session.view.id, None)
        self.world.release(session.view.id)

    # --- decoding ---------------------------------------------------------------------------------

    def compose(self, index: int) -> list[Session]:
        """The next micro-batch of process ``index``; empty when it should rest."""
        depth = self.policies.pipeline.depth()
        if index >= depth:
            return []
        state = self.state
        for session in state.take_cancelled():
            self.finish(session, rec.CANCELLED)
        if not state.ready:
            return []
        views = [session.view for session in state.ready]
        return state.take(self.policies.composition.select(views, state.decoding, depth))

    def park(self, index: int, *, in_turn: bool = True) -> simpy.Event:
        """An event for a resting micro-batch to wait for; ``in_turn``, another may have to take over."""
        if in_turn:
            self.wake()
        event = self._parked[index] = self.env.event()
        return event

    def wake(self) -> None:
        """Wake one resting micro-batch; having composed, it wakes the next if requests are left."""
        if self._parked and self.state.ready:
            index = min(self._parked)
            if index < self.policies.pipeline.depth():
                self._parked.pop(index).succeed()

    def ring_for_prompts(self) -> None:
        """Let the prefill process look again."""
        if self._prefill_bell is not None:
            bell, self._prefill_bell = self._prefill_bell, None
            bell.succeed()

    def await_prompts(self) -> simpy.Event:
        """An event for the prefill process to wait for."""
        self._prefill_bell = self.env.event()
        return self._prefill_bell

    # --- operations -------------------------------------------------------------------------------

    def submit(self, operation: Operation, micro_batch: int) -> tuple[simpy.Event, Noted]:
        """Queue an operation on its model's lane; ``micro_batch``: who asks for it, or NO_ROUND.

        Returns its event and what was noted of it, for :meth:`completed`.
        """
        kind, model, rows, tokens = operation.figures()
        lane = self._lanes[model]
        noted = [lane, kind, model, micro_batch, rows, tokens, int(self.env.now), -1, -1]
        self.log.operations.append(noted)
        return self.world.submit(lane, operation), noted

    def settle(self, operation: Operation, micro_batch: int) -> tuple[simpy.Event | Completed, Noted]:
        """As :meth:`submit`, for who waits for nothing else: see :meth:`World.settle`."""
        kind, model, rows, tokens = operation.figures()
        lane = self._lanes[model]
        noted = [lane, kind, model, micro_batch, rows, tokens, int(self.env.now), -1, -1]
        self.log.operations.append(noted)
        return self.world.settle(lane, operation), noted

    def completed(self, noted: Noted, done: Completed) -> None:
        """Note when an operation ran."""
        _, noted[-2], noted[-1] = done
