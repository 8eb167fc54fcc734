"""Time between a request's successive commits (ITL), over all rounds of the window."""

from __future__ import annotations

import numpy as np

from spinsim.engine.records import Records
from spinsim.results.blocks import RoundBlock, by_request, round_blocks
from spinsim.results.columns import Ints
from spinsim.results.window import Window


def commit_gaps(records: Records, window: Window) -> Ints:
    """Nanoseconds between a request's successive commits, the first counted from its first token.

    By request, each one's in order of time; of commits within the window. Percentiles need all of them at
    once: they take four bytes each, or eight where one is longer than four seconds.
    """
    last = np.full(1 + max(records.requests, default=-1), -1, dtype=np.int64)
    counts = np.zeros(last.size, dtype=np.int64)
    for block in round_blocks(records.rounds):
        counts += np.bincount(_commits(block, window)[0], minlength=last.size)
    free = np.cumsum(counts) - counts  # where a request's next gap goes
    for record in records.requests.values():
        last[record.request] = record.first_token_ns
    gaps: Ints = np.empty(int(counts.sum()), dtype=np.uint32)
    unknown = np.iinfo(gaps.dtype).max  # of requests whose first token is unknown
    for block in round_blocks(records.rounds):
        request, before, at = _successive(*_commits(block, None), last)
        kept = window.holds(at)
        request, gap = request[kept], np.where(before < 0, unknown, at - before)[kept]
        if gap.max(initial=0) > unknown and gaps.dtype == np.uint32:
            gaps = gaps.astype(np.int64)
        starts = np.flatnonzero(np.concatenate(([True], request[1:] != request[:-1]))[: request.size])
        sizes = np.diff(np.append(starts, request.size))
        gaps[np.repeat(free[request[starts]] - starts, sizes) + np.arange(request.size)] = gap
        free[request[starts]] += sizes
    known = gaps != unknown
    return gaps if known.all() else gaps[known]


def _successive(request: Ints, at: Ints, last: Ints) -> tuple[Ints, Ints, Ints]:
    """Requests in order, when each committed before, and now. ``last`` by request is brought up to date."""
    order = by_request(request)
    request, at = request[order], at[order]
    begins = np.concatenate(([True], request[1:] != request[:-1]))[: request.size]
    before = np.concatenate((at[:1], at[:-1]))
    before[begins] = last[request[begins]]
    ends = np.concatenate((begins[1:], [True]))[: request.size]
    last[request[ends]] = at[ends]
    return request, before, at


def _commits(block: RoundBlock, window: Window | None) -> tuple[Ints, Ints]:
    """Requests that committed tokens, and when, by row; those within the window where one is given."""
    at = block.header(block.rounds.committed_ns)
    keep = block.row(block.rounds.committed) > 0
    if window is not None:
        keep &= block.spread(window.holds(at))
    return block.row(block.rounds.request)[keep], block.spread(at)[keep]
