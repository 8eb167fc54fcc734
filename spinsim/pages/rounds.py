"""What the page of a run shows of its rounds, counted in one pass over their table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spinsim.results.blocks import by_request
from spinsim.results.read import BINS, Column, RunFolder

SLICES = 24  # of the window, in the figure of goodput against latency
_COLUMNS = ("request", "draft", "drafted", "accepted", "committed", "committed_s")


@dataclass
class RoundCounts:
    """Counts of rows: a row is one request in one round. Arms as in :attr:`RunFolder.arms`."""

    accepted: Column  # [arm, n]: proposals of the window of which n tokens came through
    drafted: Column  # [arm, n]: proposals of the window of n tokens
    accepted_of: Column  # [domain, arm]: tokens, of the window
    drafted_of: Column  # likewise
    by_turn: Column  # [arm, n]: rows that were their request's n-th, from 0
    by_bin: Column  # [arm, part of the run]
    tokens_by_bin: Column
    tokens_by_slice: Column  # of the window


def round_counts(run: RunFolder) -> RoundCounts:
    """Reads the rounds of a folder."""
    arms, domains = len(run.arms), len(run.labels["requests.domain"])
    counts = RoundCounts(
        accepted=np.zeros((arms, 0), dtype=np.int64),
        drafted=np.zeros((arms, 0), dtype=np.int64),
        accepted_of=np.zeros((domains, arms)),
        drafted_of=np.zeros((domains, arms)),
        by_turn=np.zeros((arms, 0), dtype=np.int64),
        by_bin=np.zeros((arms, BINS), dtype=np.int64),
        tokens_by_bin=np.zeros(BINS),
        tokens_by_slice=np.zeros(SLICES),
    )
    size = 1 + int(run.requests["request"].max(initial=-1))
    domain_of = np.full(size, -1, dtype=np.int64)
    domain_of[run.requests["request"]] = run.requests["domain"]
    turns = np.zeros(size, dtype=np.int64)
    for columns in run.rounds.blocks(*_COLUMNS):
        _count(counts, run, columns, domain_of, turns)
    return counts


def _count(
    counts: RoundCounts, run: RunFolder, columns: tuple[Column, ...], domain_of: Column, turns: Column
) -> None:
    request, draft, drafted, accepted, committed, at = columns
    place = {name: i for i, name in enumerate(run.arms)}
    none = len(run.arms) - 1
    arm = np.array([place.get(name, none) for name in run.rounds.labels["draft"]], dtype=np.int64)[draft]
    arms = len(run.arms)
    counts.by_turn = _added(counts.by_turn, _pairs(arm, _turns(request, turns), arms))
    bins = run.bins(at)
    counts.by_bin += _pairs(arm, bins, arms, BINS)
    counts.tokens_by_bin += np.bincount(bins, committed, BINS)
    start, end = run.window
    inside = (at >= start) & (at <= end)
    if not inside.all():
        request, arm, drafted, accepted, committed, at = (
            column[inside] for column in (request, arm, drafted, accepted, committed, at)
        )
    if end > start:
        counts.tokens_by_slice += np.bincount(slices_of(at, run), committed, SLICES)
    cell = domain_of[request] * arms + arm
    for total, column in ((counts.accepted_of, accepted), (counts.drafted_of, drafted)):
        total += np.bincount(cell, column, total.size).reshape(total.shape)
    proposed = drafted > 0
    counts.accepted = _added(counts.accepted, _pairs(arm[proposed], accepted[proposed], arms))
    counts.drafted = _added(counts.drafted, _pairs(arm[proposed], drafted[proposed], arms))


def slices_of(moments: Column, run: RunFolder) -> Column:
    """In which of ``SLICES`` equal parts of the window each moment lies."""
    start, end = run.window
    place: Column = np.clip((moments - start) / (end - start) * SLICES, 0, SLICES - 1).astype(int)
    return place


def _turns(request: Column, turns: Column) -> Column:
    """For each row, how many of its request came before. ``turns``: how many there were by request."""
    out = np.empty(request.size, dtype=np.int64)
    if not request.size:
        return out
    order = by_request(request)
    request = request[order]
    starts = np.flatnonzero(np.concatenate(([True], request[1:] != request[:-1])))
    lengths = np.diff(np.append(starts, request.size))
    own = request[starts]
    out[order] = np.arange(request.size) + np.repeat(turns[own] - starts, lengths)
    turns[own] += lengths
    return out


def _pairs(row: Column, column: Column, rows: int, columns: int = 0) -> Column:
    """How often each (row, column) occurs, of shape (rows, ``columns`` or as many as there are)."""
    columns = columns or 1 + int(column.max(initial=-1))
    cell = row.astype(np.int64) * columns + column
    counts: Column = np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
    return counts


def _added(total: Column, more: Column) -> Column:
    """The sum of two tables of counts, as wide as the wider one."""
    short, wide = sorted((total, more), key=lambda one: one.shape[1])
    out = wide.copy()
    out[:, : short.shape[1]] += short
    return out
