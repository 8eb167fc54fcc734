"""Requests as a server in its steady state holds them: each somewhere in the middle of its output.

A server that decodes all the time holds a request in proportion to the tokens that it generates, and meets it
anywhere in them alike (the inspection paradox: Kleinrock, Queueing Systems I, 1975, section 5.2). So requests
are drawn in proportion to their outputs, and a uniform share of the output is in the context already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spinsim.workload.streams import stream


class Met(NamedTuple):
    """The request that is met, by its number among those that were given, and the tokens that it has said."""

    request: int
    said: int


def meet(outputs: Sequence[int], seed: int) -> list[Met]:
    """As many requests as there are ``outputs``, met in mid-flight; at least one token is still to come."""
    random = stream(seed, "mid flight")
    lengths = np.asarray(outputs, np.int64)
    ends = lengths.cumsum()
    # A uniform token of all outputs: its request is drawn in proportion, its place is uniform within it.
    tokens = random.integers(ends[-1], size=len(lengths)) if len(lengths) else lengths
    chosen = np.searchsorted(ends, tokens, side="right")
    said = tokens - (ends[chosen] - lengths[chosen])
    return [Met(request, at) for request, at in zip(chosen.tolist(), said.tolist(), strict=True)]
