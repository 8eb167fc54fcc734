"""What a run leaves behind, in columns: cheap to append to, turned into tables afterwards.

Four record kinds. ``Rounds`` has a header per micro-batch round and rows per request in it;
``Operations`` has a row per operation on a lane; ``Load`` has one whenever requests come, are let in or
leave; ``RequestRecord`` is one per request.
All times are integer nanoseconds since the run began; -1 where a moment never came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from spinsim.engine.columns import Column, Names, blocks
from spinsim.operations import KINDS as KINDS

REASONS = ("", "batch limit", "memory")  # for which the next request waits; "" where none does
NO_ROUND = -1  # the micro-batch of an operation that belongs to no round
COMPLETED, REJECTED, CANCELLED, UNFINISHED = "completed", "rejected", "cancelled", "unfinished"


@dataclass(slots=True)
class RequestRecord:
    """The life of one request."""

    request: int
    key: str
    domain: str
    prompt_tokens: int
    arrival_ns: int
    admitted_ns: int = -1
    first_token_ns: int = -1
    finished_ns: int = -1
    status: str = UNFINISHED
    output_tokens: int = 0  # committed
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    switches: int = 0
    catch_up_tokens: int = 0
    preemptions: int = 0


@dataclass(slots=True)
class Rounds:
    """Micro-batch rounds: headers, and ``size[i]`` consecutive rows for header i."""

    # header, one per micro-batch round
    micro_batch: Column = field(default_factory=lambda: Column("h"))
    depth: Column = field(default_factory=lambda: Column("h"))  # micro-batches the policy asked for
    size: Column = field(default_factory=lambda: Column("i"))
    assigned_ns: Column = field(default_factory=lambda: Column("q"))
    drafted_ns: Column = field(default_factory=lambda: Column("q"))  # the last proposal was ready
    verify_started_ns: Column = field(default_factory=lambda: Column("q"))
    committed_ns: Column = field(default_factory=lambda: Column("q"))
    packing: Names = field(default_factory=Names)
    rows: Column = field(default_factory=lambda: Column("i"))
    piece: Column = field(default_factory=lambda: Column("i"))
    query_tokens: Column = field(default_factory=lambda: Column("i"))
    kv_tokens: Column = field(default_factory=lambda: Column("q"))
    real_query_tokens: Column = field(default_factory=lambda: Column("i"))
    real_kv_tokens: Column = field(default_factory=lambda: Column("q"))
    # rows, one per request and round
    request: Column = field(default_factory=lambda: Column("i"))
    position: Column = field(default_factory=lambda: Column("i"))  # output tokens before the round
    draft: Column = field(default_factory=lambda: Column("h"))  # -1: none
    drafted: Column = field(default_factory=lambda: Column("h"))
    accepted: Column = field(default_factory=lambda: Column("h"))
    committed: Column = field(default_factory=lambda: Column("h"))  # within the output
    catch_up_tokens: Column = field(default_factory=lambda: Column("i"))

    @property
    def header(self) -> tuple[Column, ...]:
        """The header's columns of numbers: all but ``packing``, in order."""
        return (
            *(self.micro_batch, self.depth, self.size),
            *(self.assigned_ns, self.drafted_ns, self.verify_started_ns, self.committed_ns),
            *(self.rows, self.piece, self.query_tokens, self.kv_tokens),
            *(self.real_query_tokens, self.real_kv_tokens),
        )

    @property
    def row(self) -> tuple[Column, ...]:
        """The columns with a row per request and round, in order."""
        return (
            *(self.request, self.position, self.draft),
            *(self.drafted, self.accepted, self.committed, self.catch_up_tokens),
        )


@dataclass(slots=True)
class Operations:
    """Operations in order of submission; the index is the operation's id."""

    lane: Column = field(default_factory=lambda: Column("h"))
    kind: Column = field(default_factory=lambda: Column("b"))  # index into KINDS
    model: Column = field(default_factory=lambda: Column("h"))  # draft index; -1: the target
    micro_batch: Column = field(default_factory=lambda: Column("h"))  # or NO_ROUND
    rows: Column = field(default_factory=lambda: Column("i"))
    tokens: Column = field(default_factory=lambda: Column("i"))  # propose: steps; verify: padded
    submitted_ns: Column = field(default_factory=lambda: Column("q"))
    started_ns: Column = field(default_factory=lambda: Column("q"))  # -1 until completed
    finished_ns: Column = field(default_factory=lambda: Column("q"))

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of them, in order."""
        return (
            *(self.lane, self.kind, self.model, self.micro_batch, self.rows, self.tokens),
            *(self.submitted_ns, self.started_ns, self.finished_ns),
        )


@dataclass(slots=True)
class Load:
    """Who is served, who waits and why, and the target's K/V memory: a row whenever one may change."""

    at_ns: Column = field(default_factory=lambda: Column("q"))
    admitted: Column = field(default_factory=lambda: Column("i"))  # requests that hold a slot of the target
    waiting: Column = field(default_factory=lambda: Column("i"))  # for admission, preempted ones among them
    reason: Column = field(default_factory=lambda: Column("b"))  # index into REASONS
    kv_tokens: Column = field(default_factory=lambda: Column("q"))  # the target's, in blocks that are held

    def note(self, at_ns: int, admitted: int, waiting: int, short: bool, kv_tokens: int) -> None:
        """Add an entry; ``short``: the next request waits for memory. Of one moment the last entry stays."""
        columns = self.at_ns, self.admitted, self.waiting, self.reason, self.kv_tokens
        entry = at_ns, admitted, waiting, (1 + short) if waiting else 0, kv_tokens
        if self.at_ns and self.at_ns[-1] == at_ns:
            for column, value in zip(columns, entry, strict=True):
                column[-1] = value
        else:
            for column, value in zip(columns, entry, strict=True):
                column.append(value)


@dataclass(slots=True)
class Records:
    """Everything one run recorded."""

    lanes: tuple[tuple[str, tuple[str, ...]], ...]  # name and devices of each lane
    drafts: tuple[str, ...]
    requests: dict[int, RequestRecord] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)
    operations: Operations = field(default_factory=Operations)
    load: Load = field(default_factory=Load)
    ended_ns: int = 0
    last_arrival_ns: int = 0
    closed_loop: bool = False
    prefix_tokens: int = 0  # of prompts, found in the prefix cache
    interrupted: str = ""  # why a run stopped early; empty when it did not
    # what the world reports at the end
    label_s: dict[str, float] = field(default_factory=dict)  # predicted seconds behind each label
    orchestrator_s: float = 0.0
    idle_caused_s: float = 0.0  # lanes idle because the host had not submitted yet
    kv_capacity_tokens: dict[str, int] = field(default_factory=dict)  # per model, as used

    def idle_caused_ns(self) -> int:
        """Time in which lanes had nothing to do because the host had not handed over what was decided.

        An operation is decided at the time stamp of the input that led to it. From then on, or
        from the end of the lane's previous operation, until its start the lane waits for the host.
        """
        ops, idle = self.operations, 0
        free = [0] * len(self.lanes)
        for part in blocks(len(ops.lane)):
            lane, decided, started, finished = (
                column[part] for column in (ops.lane, ops.submitted_ns, ops.started_ns, ops.finished_ns)
            )
            for index in range(len(self.lanes)):
                ran = np.flatnonzero((lane == index) & (started >= 0))  # first in, first out
                if ran.size:
                    ready = np.concatenate(([free[index]], finished[ran[:-1]]))
                    idle += int(np.maximum(started[ran] - np.maximum(decided[ran], ready), 0).sum())
                    free[index] = int(finished[ran[-1]])
        return idle

    def by_arrival(self) -> Iterator[RequestRecord]:
        """Request records in the workload's order."""
        return (self.requests[i] for i in sorted(self.requests))
