"""Drafters that look proposals up in token ids, in the host's memory: no K/V, no catch-up, no shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from spinsim.costs.base import ASSUMED, CONSTANT, INTERPOLATED, Estimate
from spinsim.drafters.base import Drafter, DrafterCosts, Lookup, stated_fit, stated_step
from spinsim.drafters.measured import law, points_of
from spinsim.scenario import LinearPass, Scenario, Section
from spinsim.scenario.base import NotNegative, PositiveInt


class LookupCost(Section):
    """Seconds of one lookup operation: base_s + row_s * rows + token_s * context tokens of all rows."""

    base_s: NotNegative = 0.0
    row_s: NotNegative = 0.0
    token_s: NotNegative = 0.0


class LookupKeys(Section):
    """Keys that every such kind has. ``cost`` None: the profile's, else what the kind's file says."""

    longest: PositiveInt = 20  # tokens proposed at most, where the length policy asks for more
    cost: LookupCost | None = None


class HostDrafter(Drafter):
    """A kind gives ``Keys``, ``lookup`` and ``usual_cost``: what was measured, on a machine that it names."""

    Keys = LookupKeys
    home = "host"
    keeps_kv = False
    usual_cost: ClassVar[LookupCost] = LookupCost()

    def costs(self, scenario: Scenario, base_dir: Path | None) -> DrafterCosts:
        """Stated by ``costs`` for this draft or by its own ``cost``; else measured by the scenario's profile;
        else the kind's usual one, an assumption."""
        step, fit = stated_step(scenario, self.name), stated_fit(scenario, self.name)
        if step is not None:
            return LookupCosts(LookupCost(base_s=step), CONSTANT)
        if fit is not None:
            return FittedLookup(fit)
        own: LookupCost | None = self.keys.cost
        if own is not None:
            return LookupCosts(own, CONSTANT)
        points = points_of(scenario, base_dir, "lookup", self.kind)
        if points:
            rows = [[1.0, point.features["rows"], point.features["kv_tokens"]] for point in points]
            base_s, row_s, token_s = law(points, rows)
            measured = LookupCost(base_s=base_s, row_s=row_s, token_s=token_s)
            return LookupCosts(measured, INTERPOLATED, rehearsed=True)
        return LookupCosts(self.usual_cost, ASSUMED)

    def lookup(self) -> Lookup:
        """A new one, which knows no request."""
        raise NotImplementedError


class LookupCosts:
    """Implements :class:`~spinsim.drafters.base.DrafterCosts` for lookups, with one label for all.

    ``rehearsed``: what the host takes in runs was measured with these lookups; see :meth:`look`.
    """

    def __init__(self, cost: LookupCost, label: int, *, rehearsed: bool = False) -> None:
        self._cost, self._label, self._rehearsed = cost, label, rehearsed

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """A lookup a row, however many tokens it finds."""
        cost = self._cost
        seconds = cost.base_s + cost.row_s * len(lengths) + cost.token_s * sum(contexts)
        return Estimate(seconds if lengths else 0.0, self._label)

    def look(self, context: int) -> float:
        """Seconds of one look at a context by who is awake already: the engine, before a policy chooses.

        0 where the profile's short runs looked ahead, too: their handling has it.
        """
        if self._rehearsed:
            return 0.0
        return self._cost.row_s + self._cost.token_s * context

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """Only selectors with full information ask: a lookup for each token that is scored."""
        cost = self._cost
        scored = sum(new if start else 1 for new, start in zip(tokens, starts, strict=True))
        read = sum(new * (start + new) if start else new for new, start in zip(tokens, starts, strict=True))
        return Estimate(cost.base_s + cost.row_s * scored + cost.token_s * read, self._label)

    def load_of_proposal(self, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        """The host is no device that others share."""
        return 0.0, 0.0

    def load_of_catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        """The host is no device that others share."""
        return 0.0, 0.0


class FittedLookup(LookupCosts):
    """A published fit of whole proposals: over proposed tokens and context tokens, as for models."""

    def __init__(self, fit: LinearPass) -> None:
        super().__init__(LookupCost(base_s=fit.base_s, token_s=fit.kv_token_s), INTERPOLATED)
        self._each = fit.token_s

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """The fit, for so many tokens as are asked for."""
        found = super().propose(lengths, contexts)
        return Estimate(found.seconds + self._each * sum(lengths), INTERPOLATED)
