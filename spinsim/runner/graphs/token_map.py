"""Where the new tokens of a captured pass lie: worked out on its device, from a few integers a row.

On the host this is a dozen array operations a pass, which nothing overlaps; in the graph it is one
kernel. Plain torch here; :mod:`token_map_in_triton` does the same on CUDA.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from spinsim.runner.kv import SlotCache


class Spans(NamedTuple):
    """Of T packed tokens in R rows; tokens beyond the real ones belong to no row.

    ``row``, ``column`` int64 ``[T]``: whose token it is, and which of its new ones (0, 0 for spare tokens)
    ``positions``, ``write`` int64 ``[T]``: in the request, and in the flat cache (spare: trash page)
    ``slots``, ``kv_lens`` int32 ``[R]``; ``starts`` int32 ``[R + 1]``: a row's first token
    """

    row: torch.Tensor
    column: torch.Tensor
    positions: torch.Tensor
    write: torch.Tensor
    slots: torch.Tensor
    kv_lens: torch.Tensor
    starts: torch.Tensor


class Steps(NamedTuple):
    """Of K draft steps for R rows. A row that takes no part in a step is that of a trash slot's token.

    ``places`` int64 ``[K, 2, R]``: position and flat cache position of each step's token
    ``rows`` int32 ``[K, 2, R]``: slot and K/V length
    ``first_positions``, ``first_write`` int64 ``[2 R]``: of the first step's pairs of tokens
    """

    places: torch.Tensor
    rows: torch.Tensor
    first_positions: torch.Tensor
    first_write: torch.Tensor


def spans(
    slots: torch.Tensor, begins: torch.Tensor, news: torch.Tensor, tokens: int, cache: SlotCache
) -> Spans:
    """Rows of ``news[i]`` tokens from position ``begins[i]`` on; all int64 ``[R]``. Spare rows: 0 and 0."""
    if slots.is_cuda:
        from spinsim.runner.graphs import token_map_in_triton

        return Spans(*token_map_in_triton.spans(slots, begins, news, tokens, cache))
    return torch_spans(slots, begins, news, tokens, cache)


def torch_spans(
    slots: torch.Tensor, begins: torch.Tensor, news: torch.Tensor, tokens: int, cache: SlotCache
) -> Spans:
    """See :func:`spans`."""
    ends = news.cumsum(0)
    starts = torch.cat((ends.new_zeros(1), ends))
    at = torch.arange(tokens, device=slots.device)
    row = torch.searchsorted(ends, at, right=True)
    real = row < len(slots)
    row = row.where(real, 0)
    column = (at - starts[row]).where(real, 0)
    position = begins[row] + column
    write = cache.table.flat(slots[row], position)
    return Spans(
        row,
        column,
        position.where(real, 0),
        write.where(real, cache.trash_token),
        slots.int(),
        (begins + news).int(),
        starts.int(),
    )


def steps(
    slots: torch.Tensor, contexts: torch.Tensor, lengths: torch.Tensor, cache: SlotCache, out: Steps
) -> None:
    """The draft steps after ``contexts``; row i takes part in the first ``lengths[i]``. Int64 ``[R]``."""
    if slots.is_cuda:
        from spinsim.runner.graphs import token_map_in_triton

        token_map_in_triton.steps(slots, contexts, lengths, cache, out)
    else:
        torch_steps(slots, contexts, lengths, cache, out)


def torch_steps(
    slots: torch.Tensor, contexts: torch.Tensor, lengths: torch.Tensor, cache: SlotCache, out: Steps
) -> None:
    """See :func:`steps`."""
    step = torch.arange(len(out.places), device=slots.device)[:, None]
    active = lengths > step
    # Position 1 of the trash slot, so that the token before it is there as well.
    position = torch.where(active, contexts - 1 + step, 1)
    slot = torch.where(active, slots, cache.trash)
    out.places.copy_(torch.stack((position, cache.table.flat(slot, position)), 1))
    out.rows.copy_(torch.stack((slot, position + 1), 1))
    pairs = torch.stack((position[0] - 1, position[0]), 1)
    out.first_positions.copy_(pairs.flatten())
    out.first_write.copy_(cache.table.flat(slot[0, :, None], pairs).flatten())


def no_steps(count: int, rows: int, device: torch.device) -> Steps:
    """Room for ``count`` steps of ``rows`` rows."""
    longs, ints = torch.zeros(count, 2, rows, dtype=torch.int64, device=device), torch.int32
    pairs = [torch.zeros(2 * rows, dtype=torch.int64, device=device) for _ in range(2)]
    return Steps(longs, torch.zeros_like(longs, dtype=ints), *pairs)
