"""A request while the engine serves it: the server's view, and the truth beside it."""

from __future__ import annotations

from spinsim.engine.records import RequestRecord
from spinsim.policies.base import RequestView
from spinsim.workload.request import Request

# Where a request stands; see state.py, which alone moves it.
WAITING, PROMPT, CHUNK, READY, ROUND, ENDED = range(6)


class Session:
    """Engine state of one request. Policies get ``view`` and nothing else."""

    __slots__ = (
        "admission",
        "background",
        "cancelled",
        "draft_slots",
        "output_tokens",
        "place",
        "prefill_goal",
        "prefilled",
        "record",
        "request",
        "view",
    )

    def __init__(self, request: Request, now_ns: int, drafts: int) -> None:
        self.request = request
        self.output_tokens = request.output_tokens
        self.view = RequestView(request.id, request.prompt_tokens, now_ns, drafts)
        self.record = RequestRecord(
            request=request.id,
            key=request.key,
            domain=request.domain,
            prompt_tokens=request.prompt_tokens,
            arrival_ns=now_ns,
        )
        self.prefill_goal = request.prompt_tokens  # tokens to compute before decoding (again)
        self.prefilled = 0
        self.place = WAITING
        self.cancelled = False  # takes effect at the next commit
        self.admission = -1  # order of admission; the latest is preempted first
        self.draft_slots = [-1] * drafts
        self.background = [0] * drafts  # catch-ups in flight beside the rounds

    @property
    def in_flight(self) -> bool:
        """May an operation in flight use its target slot?"""
        return self.place == CHUNK or self.place == ROUND
