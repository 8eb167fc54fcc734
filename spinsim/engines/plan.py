"""A plan in the terms that engines share: one draft, and tokens by the number of running requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["none", "draft_model", "eagle", "eagle3", "mtp", "ngram"]
METHODS: tuple[Method, ...] = ("none", "draft_model", "eagle", "eagle3", "mtp", "ngram")


@dataclass(frozen=True, slots=True)
class Gain:
    """Predicted goodput over no speculation at the same batch, less 1, with its interval.

    ``low`` and ``high`` are None where too few seeds were simulated, or all gave one figure.
    """

    estimate: float
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95

    def __str__(self) -> str:
        said = f"{100 * self.estimate:+.1f} %"
        if self.low is None or self.high is None:
            return said
        return f"{said} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


@dataclass(frozen=True, slots=True)
class Step:
    """Batches from ``first`` to ``last`` running requests, both included, and how many tokens are drafted."""

    first: int
    last: int
    tokens: int
    gain: Gain | None = None  # of the last batch; None where nothing is drafted

    def __str__(self) -> str:
        batch = f"batch {self.first}" if self.first == self.last else f"batches {self.first} to {self.last}"
        tokens = f"{self.tokens} token{'' if self.tokens == 1 else 's'}"
        told = f", predicted {self.gain} of goodput over no speculation" if self.gain is not None else ""
        return f"{batch}: {tokens}{told}"


@dataclass(frozen=True, slots=True)
class Weights:
    """What an engine loads. ``stand_in``: a shape's name, where the scenario has no weights of its own."""

    name: str
    stand_in: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One method and draft for all requests, and a schedule that begins at batch 1 without gaps.

    ``devices``: over which the target is split. ``origin``: lines on what stands behind the prediction.
    """

    target: Weights
    method: Method
    draft: Weights | None
    schedule: tuple[Step, ...]
    devices: int = 1
    origin: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """The most that any batch drafts."""
        return max((step.tokens for step in self.schedule), default=0)

    @property
    def constant(self) -> bool:
        """Do all batches draft alike?"""
        return len({step.tokens for step in self.schedule}) <= 1


def merged(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Neighbours that draft alike as one step, with the gain of the larger batch."""
    found: list[Step] = []
    for step in steps:
        if found and found[-1].tokens == step.tokens:
            found[-1] = Step(found[-1].first, step.last, step.tokens, step.gain)
        else:
            found.append(step)
    return tuple(found)
