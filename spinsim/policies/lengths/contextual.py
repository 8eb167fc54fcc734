"""Lengths that the selector of the same name decided with the drafters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import Feedback, PolicyContext, RequestView
from spinsim.policies.registry import LENGTHS
from spinsim.policies.selectors.contextual import Contextual


@LENGTHS.register("contextual")
class ContextualLength:
    """As the selector ``contextual`` (or its oracle) decided, a length for every row."""

    sees_future = False
    follows = Contextual  # the selector that it needs

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: ContextualLength.Params, context: PolicyContext) -> None:
        self._selector: Contextual | None = None

    def follow(self, selector: Contextual) -> None:
        """The selector whose lengths these are; said once, before the run."""
        self._selector = selector

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        assert self._selector is not None
        return self._selector.lengths(batch, drafts)

    def observe(self, feedback: Feedback) -> None:
        pass

    def forget(self, request: int) -> None:
        pass
