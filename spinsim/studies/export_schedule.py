"""The schedule of an export: how many tokens at which batch, from simulated effects by batch and tokens."""

from __future__ import annotations

from spinsim.engines.plan import Gain, Step, merged
from spinsim.studies.compare import Effect

AS_GOOD = 0.01  # of goodput: below, simulated differences are of a few seeds, and fewer tokens are taken


def one_for_all(table: dict[int, dict[int, Effect]]) -> tuple[int, float, int]:
    """The number of tokens whose worst loss over the batches is least; that loss, and its batch."""

    def losses(tokens: int) -> dict[int, float]:
        return {batch: loss_of(row, tokens) for batch, row in table.items()}

    one = min(next(iter(table.values())), key=lambda tokens: max(losses(tokens).values()))
    worst = losses(one)
    where = max(worst, key=lambda batch: worst[batch])
    return one, worst[where], where


def fewest(row: dict[int, Effect]) -> int:
    """The fewest tokens within :data:`AS_GOOD` of the best: more cost more where acceptance is lower."""
    return min(tokens for tokens in row if loss_of(row, tokens) <= AS_GOOD)


def loss_of(row: dict[int, Effect], tokens: int) -> float:
    """Share of the best goodput of a batch that is lost with ``tokens``."""
    return 1 - row[tokens].mean.estimate / max(effect.mean.estimate for effect in row.values())


def steps_of(table: dict[int, dict[int, Effect]], best: dict[int, int]) -> tuple[Step, ...]:
    before, steps = 0, []
    for batch, tokens in best.items():
        gain = gain_of(table[batch][tokens]) if tokens else None
        steps.append(Step(before + 1, batch, tokens, gain))
        before = batch
    return merged(tuple(steps))


def gain_of(effect: Effect) -> Gain:
    found = effect.relative
    if found is None:
        return Gain(0.0)
    return Gain(found.estimate, found.low, found.high, found.confidence)
