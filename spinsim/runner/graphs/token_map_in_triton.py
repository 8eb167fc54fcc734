# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""The index tables of :mod:`token_map`, one kernel each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from spinsim.runner.kv import SlotCache

BLOCK = 16  # tokens a program; it holds each against every row
# Compiled once for all buckets, not once for every divisibility of their sizes.
SIZES = ["rows", "tokens", "width", "page_tokens", "trash"]


def _row_block(rows: int) -> int:
    return max(16, int(triton.next_power_of_2(rows)))


@triton.jit
def _place(table, slot, position, width, page_tokens, mask):
    page = tl.load(table + slot * width + position // page_tokens, mask=mask, other=0).to(tl.int64)
    return page * page_tokens + position % page_tokens


@triton.jit(do_not_specialize=SIZES)
def _spans(
    slots, begins, news, table, row_out, column_out, positions, write, slots_out, kv_lens, starts,
    rows, tokens, width, page_tokens, trash, row_block: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    r = tl.arange(0, row_block)
    held = r < rows
    new = tl.load(news + r, mask=held, other=0).to(tl.int32)
    ends = tl.cumsum(new, 0)
    at = tl.program_id(0) * block + tl.arange(0, block)
    # A token belongs to the first row that does not end before it.
    over = held[None, :] & (ends[None, :] <= at[:, None])
    row = tl.sum(over.to(tl.int32), 1)
    first = tl.sum(tl.where(over, new[None, :], 0), 1)
    real = row < rows
    row = tl.where(real, row, 0)
    column = tl.where(real, at - first, 0)
    position = tl.load(begins + row, mask=real, other=0) + column
    slot = tl.load(slots + row, mask=real, other=0)
    place = _place(table, slot, position, width, page_tokens, real)
    mask = at < tokens
    tl.store(row_out + at, row, mask=mask)
    tl.store(column_out + at, column, mask=mask)
    tl.store(positions + at, position, mask=mask)
    tl.store(write + at, tl.where(real, place, trash), mask=mask)
    if tl.program_id(0) == 0:
        begin = tl.load(begins + r, mask=held, other=0)
        tl.store(slots_out + r, tl.load(slots + r, mask=held, other=0).to(tl.int32), mask=held)
        tl.store(kv_lens + r, begin.to(tl.int32) + new, mask=held)
        tl.store(starts + r + 1, ends, mask=held)
        tl.store(starts + r, ends - new, mask=r == 0)


def spans(
    slots: torch.Tensor, begins: torch.Tensor, news: torch.Tensor, tokens: int, cache: SlotCache
) -> list[torch.Tensor]:
    """The fields of :class:`token_map.Spans`, in their order; contiguous tensors."""
    rows = len(slots)
    found = [
        *(slots.new_empty(tokens) for _ in range(4)),
        *(slots.new_empty(count, dtype=torch.int32) for count in (rows, rows, rows + 1)),
    ]
    # One program at least: the rows are told even where no token is.
    _spans[(max(1, triton.cdiv(tokens, BLOCK)),)](
        slots,
        begins,
        news,
        cache.table.device,
        *found,
        rows,
        tokens,
        cache.table.width,
        cache.page_tokens,
        cache.trash_token,
        row_block=_row_block(rows),
        block=BLOCK,
    )
    return found


@triton.jit(do_not_specialize=["rows", "width", "page_tokens", "trash"])
def _steps(
    slots, contexts, lengths, table, places, rows_out, first_positions, first_write,
    rows, width, page_tokens, trash, row_block: tl.constexpr,
):  # fmt: skip
    step = tl.program_id(0)
    r = tl.arange(0, row_block)
    held = r < rows
    active = tl.load(lengths + r, mask=held, other=0) > step
    position = tl.where(active, tl.load(contexts + r, mask=held, other=0) - 1 + step, 1)
    slot = tl.where(active, tl.load(slots + r, mask=held, other=0), trash)
    place = _place(table, slot, position, width, page_tokens, held)
    at = step * 2 * rows + r
    tl.store(places + at, position, mask=held)
    tl.store(places + at + rows, place, mask=held)
    tl.store(rows_out + at, slot.to(tl.int32), mask=held)
    tl.store(rows_out + at + rows, (position + 1).to(tl.int32), mask=held)
    if step == 0:
        tl.store(first_positions + 2 * r, position - 1, mask=held)
        tl.store(first_positions + 2 * r + 1, position, mask=held)
        before = _place(table, slot, position - 1, width, page_tokens, held)
        tl.store(first_write + 2 * r, before, mask=held)
        tl.store(first_write + 2 * r + 1, place, mask=held)


def steps(
    slots: torch.Tensor,
    contexts: torch.Tensor,
    lengths: torch.Tensor,
    cache: SlotCache,
    out: Sequence[torch.Tensor],
) -> None:
    """Fill the fields of :class:`token_map.Steps`, in their order; contiguous tensors."""
    rows = len(slots)
    places = out[0]
    _steps[(len(places),)](
        slots,
        contexts,
        lengths,
        cache.table.device,
        *out,
        rows,
        cache.table.width,
        cache.page_tokens,
        cache.trash,
        row_block=_row_block(rows),
    )
