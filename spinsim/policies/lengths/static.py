"""Lengths that depend on the draft at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

from spinsim.policies.base import Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.registry import LENGTHS


class StaticLengths:
    """``table[draft]`` tokens; the last entry is NO_DRAFT's 0."""

    sees_future = False

    def __init__(self, table: Sequence[int], context: PolicyContext) -> None:
        self.table = (*(min(k, context.max_length) for k in table), 0)

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        table = self.table
        return [table[draft] for draft in drafts]

    def observe(self, feedback: Feedback) -> None:
        pass

    def forget(self, request: int) -> None:
        pass


@LENGTHS.register("fixed")
class FixedLength(StaticLengths):
    """Always ``tokens``, whatever the draft."""

    native = "table"

    @dataclass(frozen=True)
    class Params:
        tokens: Annotated[int, Ge(1), Tunable(1, 16)] = 4

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__([params.tokens] * len(context.drafts), context)


@LENGTHS.register("per_draft")
class PerDraft(StaticLengths):
    """``tokens[name]`` for the drafts it names, ``default`` for the others."""

    native = "table"

    @dataclass(frozen=True)
    class Params:
        tokens: dict[str, Annotated[int, Ge(1)]] = field(default_factory=dict)
        default: Annotated[int, Ge(1), Tunable(1, 16)] = 4

        def draft_names(self) -> Iterator[tuple[str, str]]:
            """(parameter, draft name) wherever a draft is named."""
            return ((f"tokens.{name}", name) for name in self.tokens)

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__([params.tokens.get(name, params.default) for name in context.drafts], context)


@LENGTHS.register("none")
class NoSpeculation(StaticLengths):
    """Nothing is proposed: plain autoregressive decoding, for the honest baseline."""

    native = "table"

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__([0] * len(context.drafts), context)
