# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""The table of :mod:`parts` in one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spinsim.runner.batch import Pieces

BLOCK = 32  # parts a program; it holds each against every row


@triton.jit(do_not_specialize=["rows", "width", "wave"])
def _cut_rows(
    kv_lens, row_out, start_out, end_out, first_out, rows, width, wave,
    shortest: tl.constexpr, usual: tl.constexpr, unit: tl.constexpr,
    row_block: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    r = tl.arange(0, row_block)
    held = r < rows
    kv = tl.load(kv_lens + r, mask=held, other=0)
    total = tl.sum(kv, 0)
    even = tl.minimum(tl.maximum(tl.cdiv(total, wave), shortest), usual)
    length = tl.maximum(even, tl.cdiv(total, width - rows))
    parts = tl.maximum(tl.cdiv(kv, length), 1)
    each = tl.maximum(tl.cdiv(tl.cdiv(kv, parts), unit), 1) * unit
    count = tl.where(held, tl.cdiv(kv, each), 0)
    until = tl.cumsum(count, 0)
    at = tl.program_id(0) * block + tl.arange(0, block)
    over = held[None, :] & (until[None, :] <= at[:, None])
    row = tl.sum(over.to(tl.int32), 1)
    first = tl.sum(tl.where(over, count[None, :], 0), 1)
    own = r[None, :] == row[:, None]
    size = tl.sum(tl.where(own, each[None, :], 0), 1)
    limit = tl.sum(tl.where(own, kv[None, :], 0), 1)
    real = row < rows
    start = tl.where(real, (at - first) * size, 0)
    mask = at < width
    tl.store(row_out + at, tl.where(real, row, -1), mask=mask)
    tl.store(start_out + at, start, mask=mask)
    tl.store(end_out + at, tl.where(real, tl.minimum(start + size, limit), 0), mask=mask)
    if tl.program_id(0) == 0:
        tl.store(first_out + r + 1, until, mask=held)
        tl.store(first_out + r, until - count, mask=r == 0)


def cut_rows(kv_lens: torch.Tensor, width: int, wave: int, shortest: int, usual: int, unit: int) -> Pieces:
    """``width`` parts, more than rows, as :func:`parts.cut_rows` makes them; ``kv_lens`` is contiguous."""
    rows = len(kv_lens)
    row, start, end = (kv_lens.new_empty(width) for _ in range(3))
    first = kv_lens.new_empty(rows + 1)
    _cut_rows[(triton.cdiv(width, BLOCK),)](
        kv_lens,
        row,
        start,
        end,
        first,
        rows,
        width,
        wave,
        shortest=shortest,
        usual=usual,
        unit=unit,
        row_block=max(16, int(triton.next_power_of_2(rows))),
        block=BLOCK,
    )
    return Pieces(row, start, end, first, 0, width)
