"""The rate of decoding alone: what a run commits while no prompt enters the target's cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spinsim.engine.columns import blocks
from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.batch_means import SLICES, Bound, ratio_bound
from spinsim.results.blocks import pairwise_sum, round_blocks
from spinsim.results.columns import Floats, ratio
from spinsim.results.metrics import Run, register

PREFILL, VERIFY = KINDS.index("prefill"), KINDS.index("verify")


@register(
    "decode_tokens_per_s",
    label="decoding alone",
    unit="tokens/s",
    shown=(),
    definition="tokens that rounds committed while no prefill was queued or at work, per second of such "
    "time; a round that overlaps a prefill counts by the share of its time that does not",
)
def decode_tokens_per_s(run: Run) -> float | None:
    """Goodput counts prefill's time; this is what is left of the window without it. None: nothing is left."""
    rounds, window = run.records.rounds, run.window
    if not len(rounds.size):
        return None
    clock = _Decoding(run)
    shares = (tokens for tokens, _ in _shares(run, clock))
    count = sum(int(window.holds(rounds.committed_ns[part]).sum()) for part in blocks(len(rounds.size)))
    ends = clock.until(np.array([window.start_ns, window.end_ns], float))
    return ratio(pairwise_sum(count, shares), float(ends[1] - ends[0]) / NS)


def decode_bound(run: Run) -> Bound | None:
    """How far one run tells that rate, from batch means over the time without prefill; None: not at all."""
    clock = _Decoding(run)
    begin, end = clock.until(np.array([run.window.start_ns, run.window.end_ns], float)).tolist()
    if end <= begin:
        return None
    width_ns = (end - begin) / SLICES
    tokens = np.zeros(SLICES)
    for shares, at_ns in _shares(run, clock):
        slots = np.minimum(((at_ns - begin) / width_ns).astype(int), SLICES - 1)
        tokens += np.bincount(slots, shares, SLICES)
    return ratio_bound(tokens, np.full(SLICES, width_ns / NS))


def _shares(run: Run, clock: _Decoding) -> Iterator[tuple[Floats, Floats]]:
    """Tokens of rounds in the window, by the share of the round's time that was decoding alone, and when on
    the clock they were committed; block by block."""
    rounds, window = run.records.rounds, run.window
    for block in round_blocks(rounds):
        columns = rounds.assigned_ns, rounds.committed_ns
        began, ended = (block.header(column).astype(float) for column in columns)
        committed = np.add.reduceat(block.row(rounds.committed), np.r_[0, block.sizes.cumsum()[:-1]])
        inside = (ended >= window.start_ns) & (ended <= window.end_ns)
        at_ns = clock.until(ended)
        share = (at_ns - clock.until(began)) / np.maximum(ended - began, 1.0)
        yield (committed * share)[inside], at_ns[inside]


class _Decoding:
    """A clock that stands still while a prefill is queued or at work."""

    def __init__(self, run: Run) -> None:
        begins, ends = _prefills(run.records)
        self._edges = np.stack((begins, ends), 1).ravel()
        self._stood = np.repeat((ends - begins).cumsum() if ends.size else ends, 2)
        if ends.size:
            self._stood[0::2] -= ends - begins

    def until(self, moments: Floats) -> Floats:
        """Nanoseconds of decoding alone up to each moment."""
        if not self._edges.size:
            return moments
        spent: Floats = moments - np.interp(moments, self._edges, self._stood)
        return spent


def _prefills(records: Records) -> tuple[Floats, Floats]:
    """When prompts were queued or at work: from the submission of a pass that had some to its end, in order.

    Passes take turns on the target's lane, and one at a time has prompts: none overlaps the next. A
    verification has some (``limits.prefill: merged``) where it took more tokens than its round asked for.
    """
    operations, asked = records.operations, records.rounds.query_tokens
    found, verified = [(np.empty(0), np.empty(0))], 0
    for part in blocks(len(operations.kind)):
        kind, ends = operations.kind[part], operations.finished_ns[part]
        chosen = (kind == PREFILL) & (ends >= 0)
        passes = np.flatnonzero((kind == VERIFY) & (ends >= 0))
        of_rounds = asked[verified : verified + passes.size]
        verified += passes.size
        passes = passes[: of_rounds.size]  # the last one's round may not have been committed
        chosen[passes] |= operations.tokens[part][passes] > of_rounds
        found.append((operations.submitted_ns[part][chosen].astype(float), ends[chosen].astype(float)))
    begins, ends_ns = map(np.concatenate, zip(*found, strict=True))
    return begins, ends_ns
