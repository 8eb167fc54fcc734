"""What a runner is to be able to do, whatever its model."""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.buckets import USUAL, Buckets
from spinsim.runner.sampling import GREEDY, Sampling


@dataclass(frozen=True, slots=True)
class RunnerPlan:
    """``max_rows`` rows in one call at most, ``max_length`` proposed tokens a row.

    ``graphs`` count on CUDA alone, and ``prompt_graphs`` (prefill, catch-up) with them alone. ``buckets``: of
    draft steps' rows and verifications' tokens. ``kernel`` computes the ragged packing on CUDA: a name of
    :mod:`~spinsim.runner.attention.kernels`. ``sampling``: how graphs choose tokens; a call that asks
    otherwise runs eagerly.
    """

    max_rows: int
    max_length: int
    sampling: Sampling = GREEDY
    graphs: bool = True
    prompt_graphs: bool = True
    kernel: str = "auto"
    buckets: Buckets = USUAL
