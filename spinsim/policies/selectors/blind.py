"""Selectors that learn nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.randomness import Draws
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

_UNLIMITED = 1 << 30


@SELECTORS.register("fixed")
class Fixed(PerRequest["Fixed.Params"]):
    """One draft for everyone: ``draft`` names it, "smallest" is the model of fewest parameters, and
    "none" decodes without one. Requests beyond its capacity decode without one, too."""

    native = "fixed"

    @dataclass(frozen=True)
    class Params:
        draft: str = "smallest"

        def draft_names(self) -> Iterator[tuple[str, str]]:
            """(parameter, draft name) wherever a draft is named."""
            return iter(() if self.draft in ("smallest", "none") else (("draft", self.draft),))

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        if params.draft == "none" or not context.drafts:
            self.draft = NO_DRAFT
        elif params.draft == "smallest":
            self.draft = min(range(len(context.drafts)), key=lambda j: context.draft_sizes[j] or inf)
        else:
            self.draft = context.drafts.index(params.draft)
        capacity = None if self.draft == NO_DRAFT else context.capacities[self.draft]
        self.capacity = _UNLIMITED if capacity is None else capacity

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        rows, capacity = len(batch), self.capacity
        if rows <= capacity:
            return [self.draft] * rows
        return [self.draft] * capacity + [NO_DRAFT] * (rows - capacity)


@SELECTORS.register("random")
class Random(PerRequest["Random.Params"]):
    """Uniform over the arms, each round anew. A function of (seed, request, round) alone."""

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._draws = Draws(context.seed, "selector.random")

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        return arms[int(self._draws.uniform(view.id, view.rounds) * len(arms))]


@SELECTORS.register("round_robin")
class RoundRobin(PerRequest["RoundRobin.Params"]):
    """Each request takes the arms in turn, a round each, starting from its id modulo their number."""

    @dataclass(frozen=True)
    class Params:
        pass

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        return arms[(view.id + view.rounds) % len(arms)]
