"""The same cost whatever the shape: for teaching, and for scenarios with a closed form."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.costs.base import CONSTANT, Estimate, UniformHost
from spinsim.costs.contention import Contention, Factors
from spinsim.operations import Packing


class ConstantPredictor(UniformHost):
    """Every operation takes the seconds it was given; a proposal takes max(lengths) draft steps.

    ``draft_step_s`` has an entry per draft. Operations without a token or row take no time.
    """

    native = "asked"

    def __init__(
        self,
        *,
        verify_s: float,
        draft_step_s: Sequence[float],
        prefill_s: float = 0.0,
        catch_up_s: float = 0.0,
        transfer_s: float = 0.0,
        orchestrator_s: float = 0.0,
        hop_s: float = 0.0,
        slowdown: float = 1.0,
    ) -> None:
        self._draft_step_s = tuple(draft_step_s)
        self._verify = Estimate(verify_s, CONSTANT)
        self._prefill = Estimate(prefill_s, CONSTANT)
        self._catch_up = Estimate(catch_up_s, CONSTANT)
        self._transfer = Estimate(transfer_s, CONSTANT)
        self._orchestrate = Estimate(orchestrator_s, CONSTANT)
        self._hop = Estimate(hop_s, CONSTANT)
        self._slowdown = slowdown
        self._nothing = Estimate(0.0, CONSTANT)

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """``prefill_s`` a pass."""
        return self._prefill if any(tokens) else self._nothing

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """``catch_up_s`` a pass."""
        return self._catch_up if any(tokens) else self._nothing

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """``draft_step_s`` of the draft for each of max(lengths) steps."""
        return Estimate(self._draft_step_s[draft] * max(lengths, default=0), CONSTANT)

    def verify(self, packing: Packing) -> Estimate:
        """``verify_s`` a pass."""
        return self._verify if packing.rows else self._nothing

    def transfer(self, rows: int, tokens: int) -> Estimate:
        """``transfer_s`` a transfer."""
        return self._transfer if tokens else self._nothing

    def orchestrate(self, rows: int) -> Estimate:
        """``orchestrator_s`` a completion."""
        return self._orchestrate

    def hop(self) -> Estimate:
        """``hop_s`` one way."""
        return self._hop

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """The same for all."""
        return self._slowdown

    def contention(self) -> Contention:
        """``slowdown``, whoever runs beside whom."""
        return Contention(Factors(self.slowdown))
