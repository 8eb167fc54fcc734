"""What a field says of the engine's operations: the same in predicted time and over real kernels."""

from __future__ import annotations

from spinsim.acceptance.field import AcceptanceField
from spinsim.operations import ALL, CatchUp, Verify


def accepted(field: AcceptanceField, operation: Verify) -> list[int]:
    """How many proposals of each row stand; 0 for a row that only decodes."""
    runs = field.runs
    found = []
    for request, draft, position, length in zip(
        operation.requests, operation.drafts, operation.positions, operation.lengths, strict=True
    ):
        run = runs(request, draft)[position] if draft >= 0 else 0
        found.append(run if run < length else length)
    return found


def hits(field: AcceptanceField, operation: CatchUp, most: int = ALL) -> list[bytes]:
    """By row and output token that is fed, the last ``most``: would the draft have proposed it (0 or 1)?"""
    found = []
    for request, prompt, start, tokens in zip(
        operation.requests, operation.prompts, operation.starts, operation.tokens, strict=True
    ):
        runs = field.runs(request, operation.draft)
        end = max(start - prompt + tokens, 0)
        first = max(start - prompt, end - most, 0)
        found.append(bytes(run > 0 for run in runs[first:end]))
    return found
