"""The field every acceptance model is: run(request, draft, position), independent of scheduling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Offer = Callable[[int, int], int]  # (request, context tokens): how many tokens there are to propose


class AcceptanceField(Protocol):
    """``runs(request, draft)[position]``: proposals in a row the target would accept there.

    ``position`` is the index of the next output token, 0 <= position <= output_tokens. The list
    has at least ``output_tokens + 1`` entries, and runs are not cut at the end of the output.
    Depends on (seed, request, draft, position) alone, never on the order of calls.
    """

    source: str  # "synthetic" or "trace"

    def runs(self, request: int, draft: int) -> Sequence[int]: ...

    def forget(self, request: int) -> None:
        """Release what is cached for a request that ended."""
        ...
