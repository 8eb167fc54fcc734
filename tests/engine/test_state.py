"""The engine's state by itself: whatever is done in whatever order, what it counts is what there is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spinsim.engine.kv import kv_pools
from spinsim.engine.session import CHUNK, ENDED, PROMPT, READY, ROUND, WAITING, Session
from spinsim.engine.settings import EngineSettings
from spinsim.engine.state import EngineState
from spinsim.workload.request import Request

SETTINGS = EngineSettings(
    drafts=("draft",),
    target_lane=0,
    draft_lanes=(1,),
    batch_limit=4,
    context_tokens=64,
    prefill_chunk_tokens=24,
    max_length=4,
    overlapped=False,
    reserve="grow",
    block_tokens=8,
    target_kv_tokens=128,
    draft_kv_tokens=(128,),
)


class Verbs(RuleBasedStateMachine):
    """Every verb, where the places of the requests allow it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = EngineState(SETTINGS, kv_pools(SETTINGS))
        self.all: list[Session] = []
        self.chunk: list[tuple[Session, int]] = []

    def at(self, *places: int) -> list[Session]:
        return [session for session in self.all if session.place in places]

    def one_of(self, data: Any, *places: int) -> Session:
        return data.draw(st.sampled_from(self.at(*places)))

    @rule(prompt=st.integers(1, 40), output=st.integers(1, 20), rank=st.integers(0, 3))
    def enter(self, prompt: int, output: int, rank: int) -> None:
        request = Request(
            id=len(self.all),
            arrival_s=0.0,
            prompt_tokens=prompt,
            output_tokens=output,
            patience_s=float("inf"),
            key="",
        )
        self.all.append(Session(request, 0, 1))
        self.state.enter(self.all[-1], (rank,))

    @rule()
    def admit(self) -> None:
        before = len(self.at(WAITING))
        let_in = self.state.admit(0)
        assert let_in == (len(self.at(WAITING)) < before)

    @precondition(lambda self: not self.chunk and self.at(PROMPT))
    @rule()
    def take_chunk(self) -> None:
        self.chunk = self.state.take_chunk(SETTINGS.prefill_chunk_tokens)
        assert 0 < sum(tokens for _, tokens in self.chunk) <= SETTINGS.prefill_chunk_tokens

    @precondition(lambda self: self.chunk)
    @rule()
    def chunk_done(self) -> None:
        sessions, tokens = [s for s, _ in self.chunk], [n for _, n in self.chunk]
        self.chunk = []
        for row in self.state.chunk_done(sessions, tokens):
            if sessions[row].cancelled:
                self.state.end(sessions[row], "cancelled", 1)
            else:
                self.state.decode(sessions[row])

    @precondition(lambda self: self.at(READY))
    @rule(data=st.data())
    def take(self, data: Any) -> None:
        ready = range(len(self.state.ready))
        chosen = data.draw(st.lists(st.sampled_from(ready), min_size=1, unique=True))
        assert all(session.place == ROUND for session in self.state.take(chosen))

    @precondition(lambda self: self.at(ROUND))
    @rule(first=st.booleans())
    def put_back(self, first: bool) -> None:
        self.state.put_back(self.at(ROUND), first=first)

    @precondition(lambda self: self.at(PROMPT, READY, ROUND))
    @rule(data=st.data())
    def preempt(self, data: Any) -> None:
        session = self.one_of(data, PROMPT, READY, ROUND)
        self.state.preempt(session)
        assert session.view.slot == -1

    @precondition(lambda self: self.at(WAITING, ROUND))
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        self.state.end(self.one_of(data, WAITING, ROUND), "completed", 1)

    @precondition(lambda self: self.at(READY))
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        session = self.one_of(data, READY)
        self.state.give_up(session)
        leaving = self.state.take_cancelled()
        assert session in leaving
        assert all(one.cancelled for one in leaving)
        for one in leaving:
            self.state.end(one, "cancelled", 1)

    @invariant()
    def counts_are_what_there_is(self) -> None:
        state, places = self.state, Counter(session.place for session in self.all)
        assert state.decoding == places[READY] + places[ROUND]
        assert state.in_rounds == places[ROUND]
        assert state.ended == places[ENDED]
        assert list(state.ready) == sorted(self.at(READY), key=state.ready.index)
        assert Counter(map(id, state.prompts)) == Counter(map(id, self.at(PROMPT, CHUNK)))
        held = self.at(PROMPT, CHUNK, READY, ROUND)
        assert state.admitted == len(held) == state.target_kv.used_slots <= SETTINGS.batch_limit
        assert len({session.view.slot for session in held}) == len(held)
        assert all(session.view.slot >= 0 for session in held)


TestVerbs = Verbs.TestCase
TestVerbs.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
