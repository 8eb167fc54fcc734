"""The best fixed plan of a scenario, found on seeds of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from spinsim.studies.ladder.steps import COMPOSITIONS, PACKINGS, FixedPlan

Rates = Callable[[Sequence[FixedPlan]], dict[FixedPlan, float]]  # goodput by plan; 0 where it failed
START = 4  # tokens of the first proposals tried


class Climb:
    """Asks for the rates of plans, several at a time, and remembers them."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self.known: dict[FixedPlan, float] = {}

    def rate(self, plans: Iterable[FixedPlan]) -> list[float]:
        """In their order."""
        wanted = list(plans)
        new = [plan for plan in dict.fromkeys(wanted) if plan not in self.known]
        if new:
            self.known.update(self._rates(new))
        return [self.known[plan] for plan in wanted]

    def best(self, plans: Sequence[FixedPlan]) -> FixedPlan:
        """The fastest; the first of equals."""
        rates = self.rate(plans)
        return plans[rates.index(max(rates))]

    def best_lengths(self, plans: Sequence[FixedPlan], most: int) -> list[FixedPlan]:
        """Each plan with its best length: from its own on, as long as one token more or less is faster.

        The rate has one peak over the length: each further token is accepted less often, and costs as much.
        """
        tops = list(plans)
        moving = [at for at, plan in enumerate(tops) if plan.draft]
        while moving:
            around = [_neighbours(tops[at], most) for at in moving]
            self.rate(plan for plans in around for plan in plans)
            still = []
            for at, plans in zip(moving, around, strict=True):
                top = self.best(plans)
                if top != tops[at]:
                    tops[at] = top
                    still.append(at)
            moving = still
        return tops


def _neighbours(plan: FixedPlan, most: int) -> list[FixedPlan]:
    lengths = [plan.length, plan.length + 1, plan.length - 1]
    return [_of(plan, length=length) for length in lengths if 1 <= length <= most]


def _of(
    plan: FixedPlan,
    *,
    length: int | None = None,
    packing: str | None = None,
    depth: int | None = None,
    composition: str | None = None,
) -> FixedPlan:
    return FixedPlan(
        plan.draft,
        plan.length if length is None else length,
        plan.packing if packing is None else packing,
        plan.depth if depth is None else depth,
        plan.composition if composition is None else composition,
    )


def best_fixed(
    rates: Rates, drafts: Sequence[str], most: int, *, depths: Sequence[int] = (1,)
) -> tuple[FixedPlan, dict[FixedPlan, float]]:
    """The fastest fixed plan (draft or none, length, packing, depth, composition), and all rates asked.

    For every depth each draft climbs to its best length with ``ragged`` rows; the best of a depth then tries
    the other packings and, where there are micro-batches, the other compositions, each with its best length.
    Depths are tried in their order until one is slower than the one before by a fifth.
    """
    climb = Climb(rates)
    found: FixedPlan | None = None
    before = 0.0
    for depth in depths:
        composition = COMPOSITIONS[0] if depth > 1 else COMPOSITIONS[-1]
        start = min(START, most)
        first = [FixedPlan(None, 0, PACKINGS[0], depth, composition)]
        first += [FixedPlan(draft, start, PACKINGS[0], depth, composition) for draft in drafts]
        top = climb.best(climb.best_lengths(first, most))
        others = [_of(top, packing=packing) for packing in PACKINGS[1:]]
        if depth > 1:
            others += [_of(top, composition=other) for other in COMPOSITIONS[1:]]
        top = climb.best([top, *climb.best_lengths(others, most)])
        rate = climb.known[top]
        if found is None or rate > climb.known[found]:
            found = top
        if rate < 0.8 * before:
            break
        before = rate
    assert found is not None
    return found, climb.known
