"""Costs of a scenario whose drafts are of several kinds: models by its cost model, others by their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from spinsim.costs import for_scenario as models_costs
from spinsim.costs.base import Estimate, Predictor
from spinsim.costs.contention import Contention, Demand, Law, Loads
from spinsim.drafters.base import DrafterCosts
from spinsim.drafters.for_scenario import drafters_of, is_model, models_alone
from spinsim.drafters.host import LookupCosts
from spinsim.operations import Packing
from spinsim.scenario import Scenario

KEPT = 16  # predictors at once


def build_predictor(scenario: Scenario, base_dir: str | Path | None = None) -> Predictor:
    """The predictor that ``costs`` and the kinds of drafts describe, drafts in the scenario's order.

    Raises InputError as :func:`spinsim.costs.for_scenario.build_predictor`, and for what a kind cannot price.
    """
    return mixed(models_costs.build_predictor(models_alone(scenario), base_dir), scenario, base_dir)


def mixed(models: Predictor, scenario: Scenario, base_dir: str | Path | None) -> Predictor:
    """``models``, which know the target and the drafts that are models, with the scenario's other drafts."""
    if all(is_model(spec) for spec in scenario.models.drafts.values()):
        return models
    base = None if base_dir is None else Path(base_dir)
    parts: list[int | DrafterCosts] = []
    numbered = 0
    for drafter in drafters_of(scenario).values():
        own = drafter.costs(scenario, base)
        parts.append(numbered if own is None else own)
        numbered += own is None
    return MixedPredictor(models, parts)


class KnownPredictors:
    """Predictors that were built already: scenarios that cost alike share one, since fitting takes a while.

    Of one folder, whose files stay as they are, for as long as whoever made this keeps it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, Sequence[object]], Predictor] = {}

    def of(
        self, scenario: Scenario, base_dir: str | Path | None = None, files: Sequence[object] = ()
    ) -> Predictor:
        """As :func:`build_predictor`. ``files``: hashable, and another where any file that is read is."""
        key = models_costs.priced_alike(scenario), files
        known = self._known.pop(key, None)
        if known is None:
            known = build_predictor(scenario, base_dir)
            if len(self._known) == KEPT:
                del self._known[next(iter(self._known))]  # the one that nobody asked for the longest
        self._known[key] = known
        return known


def looks(scenario: Scenario, base_dir: Path) -> dict[int, Callable[[int], float]]:
    """By draft that looks its proposals up: seconds of one look at a context of so many tokens."""
    found: dict[int, Callable[[int], float]] = {}
    for number, drafter in enumerate(drafters_of(scenario).values()):
        costs = drafter.costs(scenario, base_dir) if drafter.lookup() is not None else None
        if isinstance(costs, LookupCosts):
            found[number] = costs.look
    return found


class MixedPredictor:
    """Implements :class:`spinsim.costs.base.Predictor`.

    ``models`` answers for the target, the host and the drafts that are models. ``drafts[d]`` is the number
    of draft d among those, or the costs of a draft of another kind.
    """

    def __init__(self, models: Predictor, drafts: Sequence[int | DrafterCosts]) -> None:
        self.models = models
        self._drafts = tuple(drafts)
        inner = models.contention()
        # The target's lane runs drafts of other kinds too, if any device does: they slow others as it does.
        numbers = [part if isinstance(part, int) else -1 for part in drafts]
        self._contention = Contention(_Renumbered(inner.law, numbers), _MixedLoads(inner.loads, self._drafts))
        self.prefill = models.prefill
        self.verify = models.verify
        self.transfer = models.transfer
        self.orchestrate = models.orchestrate
        self.handle = models.handle
        self.hop = models.hop
        self.planning_s = getattr(models, "planning_s", _no_planning)
        self.wake_s: float = getattr(models, "wake_s", 0.0)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """By the draft's own kind."""
        part = self._drafts[draft]
        if isinstance(part, int):
            return self.models.propose(part, lengths, contexts)
        return part.propose(lengths, contexts)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """By the draft's own kind."""
        part = self._drafts[draft]
        if isinstance(part, int):
            return self.models.catch_up(part, tokens, starts)
        return part.catch_up(tokens, starts)

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """Of a model; what is no model has no lane beside the target's."""
        part = self._drafts[draft]
        return self.models.slowdown(part, target_lane) if isinstance(part, int) else 1.0

    def contention(self) -> Contention:
        """The models' law."""
        return self._contention


def _no_planning(packing: Packing) -> float:
    return 0.0


class _Renumbered:
    """A law of the models, for demands that name drafts as the scenario numbers them."""

    def __init__(self, law: Law, numbers: Sequence[int]) -> None:
        self._law, self._numbers = law, numbers

    def _renumbered(self, demand: Demand) -> Demand:
        return demand if demand.model < 0 else demand._replace(model=self._numbers[demand.model])

    def delay(self, own: Demand, other: Demand) -> float:
        return self._law.delay(self._renumbered(own), self._renumbered(other))

    def slowdowns(self, running: Sequence[Demand]) -> list[float]:
        return self._law.slowdowns([self._renumbered(demand) for demand in running])


class _MixedLoads:
    """Implements :class:`spinsim.costs.contention.Loads`, each draft by its own kind."""

    def __init__(self, models: Loads, drafts: Sequence[int | DrafterCosts]) -> None:
        self._models, self._drafts = models, drafts

    def verify(self, packing: Packing) -> tuple[float, float]:
        return self._models.verify(packing)

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        return self._models.prefill(tokens, starts)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        part = self._drafts[draft]
        if isinstance(part, int):
            return self._models.propose(part, lengths, contexts)
        return part.load_of_proposal(lengths, contexts)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        part = self._drafts[draft]
        if isinstance(part, int):
            return self._models.catch_up(part, tokens, starts)
        return part.load_of_catch_up(tokens, starts)


__all__ = ["KnownPredictors", "MixedPredictor", "Predictor", "build_predictor"]
