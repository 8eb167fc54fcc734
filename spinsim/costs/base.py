"""The questions everyone asks of a cost model, and the labels on its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from spinsim.costs.contention import Contention
from spinsim.operations import Packing

MEASURED, INTERPOLATED, ROOFLINE, CONSTANT, ASSUMED = range(5)
LABELS = ("measured", "interpolated", "roofline", "constant", "assumed")


class Estimate(NamedTuple):
    """Predicted seconds, and an index into ``LABELS`` that says what stands behind them."""

    seconds: float
    label: int


_NOTHING = Estimate(0.0, CONSTANT)


class UniformHost:
    """A host of which nothing more is known than what each submission costs."""

    def handle(self, kind: str, rows: int) -> Estimate:
        """Nothing beyond what each submission costs."""
        return _NOTHING


class Predictor(Protocol):
    """Costs of one scenario: its target and drafts on their devices.

    One that knows what the host takes to plan a packing has a ``planning_s`` besides: seconds, of a plan. One
    that knows what threads wait for each other has a ``wake_s``: seconds that an operation begins later for
    each that was submitted before it, of those that one end led to.

    Asked for the shape that the caller plans; the model applies the shared bucketing rule
    itself, so that it answers for the shape that would be executed.
    """

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """The target over ``tokens[i]`` prompt tokens after ``starts[i]`` cached ones."""
        ...

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """A draft over tokens it has not seen."""
        ...

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """A whole proposal: max(lengths) steps; row i takes part in the first ``lengths[i]``."""
        ...

    def verify(self, packing: Packing) -> Estimate:
        """One verification by the target."""
        ...

    def transfer(self, rows: int, tokens: int) -> Estimate:
        """Proposed token ids (and probabilities when sampling) from the draft's device to the target's."""
        ...

    def orchestrate(self, rows: int) -> Estimate:
        """Host time of the orchestrator for each operation that it submits."""
        ...

    def handle(self, kind: str, rows: int) -> Estimate:
        """Host time that the end of an operation of ``kind`` takes before what it leads to is submitted.

        Policies' thinking included; on top of :meth:`orchestrate`, which every submission costs.
        """
        ...

    def hop(self) -> Estimate:
        """From the engine's thread to a lane's worker, or back."""
        ...

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """Factor (>= 1) while an operation of the target and one of ``draft`` are busy on one GPU.

        On the target's (``target_lane``), or on the draft's.
        """
        ...

    def contention(self) -> Contention:
        """How any operations that are busy on one GPU slow each other down."""
        ...
