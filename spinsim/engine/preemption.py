"""Growing contexts share the target's KV memory: who makes room for whom."""

from __future__ import annotations

from operator import attrgetter

from spinsim.engine.engine import Engine
from spinsim.engine.session import WAITING, Session
from spinsim.engine.state import EngineState

_admission = attrgetter("admission")


def reserve_memory(engine: Engine, batch: list[Session]) -> list[Session]:
    """The requests of a micro-batch that have room for this round in the target's KV cache.

    Where room is short, the latest admitted is preempted first, and nobody preempts an earlier
    one: so the earliest always advances. What is in flight cannot be preempted; a request that
    only needs that memory waits, ready, for the next round.
    """
    state, kv = engine.state, engine.state.target_kv
    room = kv.room
    most, limit = engine.settings.max_length, engine.settings.context_tokens
    batch = sorted(batch, key=_admission)
    kept: list[Session] = []
    waiting: list[Session] = []
    preempted = False
    for session in batch:
        if session.place == WAITING:  # preempted for an earlier one of this batch
            continue
        view = session.view
        tokens = view.prompt_tokens + view.generated + most
        if tokens > limit:
            tokens = limit
        while tokens > room[view.slot] and not kv.grow(view.slot, tokens):
            victim = _latest_idle(state, batch, kept, after=session.admission)
            if victim is not None:
                preempted = True
                state.preempt(victim)
            elif _later_in_flight(state, session.admission):
                waiting.append(session)
                break
            else:
                preempted = True
                state.preempt(session)
                break
        else:
            kept.append(session)
    state.put_back(waiting, first=True)
    if state.prefix is not None:
        state.prefix.make_room()
    if preempted:
        engine.admit()
    else:
        engine.note_load()  # contexts have grown
    return kept


def _latest_idle(state: EngineState, batch: list[Session], kept: list[Session], after: int) -> Session | None:
    """The latest admitted request, later than ``after``, that no operation in flight uses."""
    idle = [s for s in batch if s.place != WAITING and s not in kept]
    idle += state.ready
    idle += [s for s in state.prompts if not s.in_flight]
    latest = max(idle, key=lambda s: s.admission, default=None)
    return latest if latest is not None and latest.admission > after else None


def _later_in_flight(state: EngineState, after: int) -> bool:
    return any(s.in_flight and s.admission > after for s in state.sessions.values())
