"""Tables of pieces, on the device of the rows' lengths. Needs torch."""

from __future__ import annotations

import torch

from spinsim.packings.base import Table


def one_each(kv_tokens: torch.Tensor, length: torch.Tensor | int) -> Table:
    """A piece for every row, of ``length`` tokens where it has any."""
    at = torch.arange(len(kv_tokens) + 1, dtype=torch.int32, device=kv_tokens.device)
    ends = torch.where(kv_tokens > 0, length, 0).int()
    return Table(at[:-1], torch.zeros_like(ends), ends, at)


def of_length(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table:
    """``ceil(kv / length)`` pieces a row, ``width`` with spare ones. A row without K/V has none."""
    at = torch.arange(width, dtype=torch.int32, device=kv_tokens.device)
    until = ((kv_tokens + length - 1) // length).cumsum(0)
    first = torch.cat((until.new_zeros(1), until))
    row = torch.searchsorted(until, at.long(), right=True)
    real = row < len(kv_tokens)
    start = (at - first[row]) * length
    return Table(
        row.where(real, -1).int(),
        start.where(real, 0).int(),
        (start + length).where(real, 0).int(),
        first.int(),
    )
