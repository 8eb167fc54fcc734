"""The rate of decoding alone: what a run commits while no prompt enters the target's cache."""

from __future__ import annotations

import numpy as np

from spinsim.engine.records import KINDS
from spinsim.engine.world import NS
from spinsim.results.columns import Floats, ratio, view
from spinsim.results.metrics import Run, register

PREFILL = KINDS.index("prefill")


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
    clock = _Decoding(run)
    began, ended = (view(column).astype(float) for column in (rounds.assigned_ns, rounds.committed_ns))
    if not ended.size:
        return None
    sizes = view(rounds.size)
    committed = np.add.reduceat(view(rounds.committed), np.r_[0, sizes.cumsum()[:-1]])
    inside = (ended >= window.start_ns) & (ended <= window.end_ns)
    share = (clock.until(ended) - clock.until(began)) / np.maximum(ended - began, 1.0)
    ends = clock.until(np.array([window.start_ns, window.end_ns], float))
    return ratio(float((committed * share)[inside].sum()), float(ends[1] - ends[0]) / NS)


class _Decoding:
    """A clock that stands still while a prefill is queued or at work."""

    def __init__(self, run: Run) -> None:
        operations = run.records.operations
        chosen = (view(operations.kind) == PREFILL) & (view(operations.finished_ns) >= 0)
        begins = view(operations.submitted_ns)[chosen].astype(float)
        ends = view(operations.finished_ns)[chosen].astype(float)
        # One process prefills, one chunk at a time: they lie in order, and none overlaps the next.
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
