"""One round of a micro-batch while it runs: who drafts how much, and what has come of it so far."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.engine.session import Session
from spinsim.operations import Completed, ProposeOutcome


class Round:
    """Parallel lists, a row a request. :mod:`~spinsim.engine.drafting` fills in what is empty at first."""

    __slots__ = (
        "assigned_ns",
        "batch",
        "catch_up_tokens",
        "ceilings",
        "chosen",
        "contexts",
        "depth",
        "draft_s",
        "drafted_ns",
        "drafts",
        "lengths",
        "micro_batch",
        "positions",
        "requests",
        "views",
    )

    def __init__(self, micro_batch: int, batch: list[Session], depth: int, now_ns: int) -> None:
        self.micro_batch = micro_batch
        self.batch = batch
        self.depth = depth  # micro-batches that the policy asks for
        self.assigned_ns = self.drafted_ns = now_ns
        self.views = [session.view for session in batch]
        self.requests = [view.id for view in self.views]
        self.positions = [view.generated for view in self.views]  # output tokens before the round
        self.contexts = [view.prompt_tokens + view.generated for view in self.views]
        self.chosen: list[int] = []  # by the selector; where lookups are known, what it is told of
        self.drafts: list[int] = []  # that propose
        self.lengths: list[int] = []  # tokens to propose, and then proposed
        self.ceilings: list[float] | None = None  # entropies in nats at which proposals end, where they do
        self.catch_up_tokens = [0] * len(batch)
        self.draft_s = [0.0] * len(batch)  # of the proposal that a row is in

    def proposed(self, rows: Sequence[int], done: Completed) -> None:
        """A proposal for these rows has ended."""
        seconds = (done.finished_ns - done.started_ns) * 1e-9
        if len(rows) == len(self.batch):
            self.draft_s = [seconds] * len(rows)
        else:
            for row in rows:
                self.draft_s[row] = seconds
        if done.outcome is not None:
            assert isinstance(done.outcome, ProposeOutcome)
            self.lengths = self.lengths.copy()  # the operation keeps what was asked for
            for row, offered in zip(rows, done.outcome.lengths, strict=True):
                self.lengths[row] = offered
