"""One shape to measure: what is called, and the point that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from spinsim.costs.profiled.executed import (
    PassShape,
    causal_shape,
    features_of,
    step_rows,
    step_shape,
    verify_shape,
)
from spinsim.costs.profiled.profile import Point
from spinsim.operations import Packing
from spinsim.packings import packing_kind
from spinsim.profiling.timing import Timing

SKEW = 8  # the longest row of an uneven pass over the shortest


@dataclass(frozen=True)
class Probe:
    """``rows`` requests of up to ``context`` tokens each; ``tokens`` new ones a row.

    ``tokens`` of a verification are its proposals a row and one; of a draft step 2 for a proposal's first
    step and 1 for a later one. ``context`` counts cached tokens for prefill and catch-up, and
    committed ones for draft steps and verifications. ``even``: all rows alike; else from an eighth of
    ``context`` to all of it. ``draft`` executes it (-1: the target); ``piece`` is that of a
    packing that is divided; a later draft step is measured within a proposal of ``proposal`` tokens.
    ``model`` is the profile's key. ``graphs``: is this operation replayed from CUDA graphs?
    """

    operation: str
    model: str
    draft: int
    rows: int
    tokens: int
    context: int
    packing: str = ""
    piece: int = 0
    proposal: int = 1
    even: bool = True
    graphs: bool = False

    @cached_property
    def contexts(self) -> list[int]:
        """``context`` of each row."""
        return spread(self.context, self.rows, self.even)

    @cached_property
    def plan(self) -> Packing:
        """The packing of a verification."""
        kv = [context + self.tokens - 1 for context in self.contexts]
        return packing_kind(self.packing).shape(kv, [self.tokens] * self.rows, self.piece)

    @cached_property
    def steps(self) -> int:
        """Steps of the proposal behind a draft step's point: 1 for the first one."""
        return 1 if self.tokens == 2 else self.proposal

    @cached_property
    def shape(self) -> PassShape:
        """The executed pass."""
        if self.operation == "verify":
            return verify_shape(self.plan, self.graphs, divided=packing_kind(self.packing).divided)
        if self.operation == "draft_step":
            executed = step_rows(self.rows, self.graphs)
            beyond = 0.0 if self.tokens == 2 else self.rows * self.steps / 2  # the mean later step
            return step_shape(executed, self.tokens * executed, sum(self.contexts) + beyond)
        new = [self.tokens] * self.rows
        shape = causal_shape(new, self.contexts, self.graphs, head=self.operation == "prefill")
        return shape._replace(longest=0.0)  # rows are alike

    @cached_property
    def features(self) -> dict[str, float]:
        """As the point will have them."""
        return {name: float(value) for name, value in features_of(self.operation, self.shape).items()}

    @property
    def identity(self) -> tuple[object, ...]:
        """As :attr:`~spinsim.costs.profiled.profile.Point.identity`: equal where shapes are the same."""
        return (self.operation, self.model, self.packing, "", "", *sorted(self.features.items()))

    @property
    def part(self) -> str:
        """As :func:`spinsim.costs.profiled.predictors.part_of` its point."""
        if self.operation == "draft_step":
            return "first" if self.tokens == 2 else "later"
        return self.packing

    def point(self, timing: Timing) -> Point:
        """The measured point."""
        return Point(
            self.operation,
            timing.seconds,
            timing.spread_s,
            timing.repetitions,
            self.features,
            self.model,
            self.packing,
        )


def spread(longest: int, rows: int, even: bool) -> list[int]:
    """``rows`` lengths: all ``longest``, or log-spaced from all of it down to an eighth.

    So rows of a round are: some are new, and one is by far the longest. None is shorter than 2.
    """
    if even or rows == 1:
        return [longest] * rows
    return [min(longest, max(2, round(longest * SKEW ** (-i / (rows - 1))))) for i in range(rows)]


def unique(probes: Sequence[Probe]) -> list[Probe]:
    """Without those that would measure a shape twice, in order."""
    return list({probe.identity: probe for probe in reversed(probes)}.values())[::-1]
