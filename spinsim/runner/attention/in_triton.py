# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""All three packings as one CUDA kernel over pieces of K/V, read in place from the cache's pages.

A program takes one piece of one row and one K/V head; the query heads of that group, of all the row's new
tokens, are rows of the same matrix product, so that K and V are read once. What differs between the packings
is the table of pieces alone:

padded       all rows as long as the longest, in parts: the padding is read and masked
decomposed   pieces of length L, the last one of a row padded; partials merged by log-sum-exp
ragged       each row's own length in parts (Flash-Decoding, Dao et al. 2023), see :mod:`parts`

All lengths and pages are read from device memory, so that a captured graph follows them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from spinsim.runner.batch import AttentionBatch, whole_rows

LOG2_E = 1.4426950408889634
# How pages are looked up: once a piece, once a tile of K/V, or for every token of a tile.
ONE_PAGE, WHOLE_TILES, ANY = 0, 1, 2


class Tiles(NamedTuple):
    """Rows of queries and tokens of K/V that a program multiplies at a time, and how it runs."""

    block_m: int
    block_n: int
    warps: int
    stages: int


@triton.jit
def _attend_piece(
    query,
    keys,
    values,
    out,
    partial,
    maxima,
    sums,
    table,
    slots,
    query_starts,
    kv_lens,
    piece_row,
    piece_start,
    piece_end,
    scale,
    width,
    page_tokens,
    max_query,
    heads: tl.constexpr,
    groups: tl.constexpr,
    dim: tl.constexpr,
    lookup: tl.constexpr,
    single: tl.constexpr,
    precision: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_d: tl.constexpr,
):
    # Groups first: those of a piece run side by side, and read neighbouring memory.
    group = tl.program_id(0)
    piece = tl.program_id(1)
    share: tl.constexpr = heads // groups
    row = tl.load(piece_row + piece)
    if row < 0:
        return
    first = tl.load(query_starts + row)
    new = tl.load(query_starts + row + 1) - first
    begin_m = tl.program_id(2) * block_m
    if begin_m >= new * share:
        return
    kv = tl.load(kv_lens + row)
    start = tl.load(piece_start + piece)
    end = tl.minimum(tl.load(piece_end + piece), width * page_tokens)
    line = begin_m + tl.arange(0, block_m)
    column = line // share
    head = group * share + line % share
    real = line < new * share
    limit = kv - new + column
    d = tl.arange(0, block_d)
    token = (first + column).to(tl.int64)
    q = tl.load(
        query + (token * heads + head)[:, None] * dim + d[None, :],
        mask=real[:, None] & (d < dim)[None, :],
        other=0.0,
    )
    pages = table + tl.load(slots + row).to(tl.int64) * width
    base = tl.load(pages).to(tl.int64) * page_tokens
    top = tl.full([block_m], float("-inf"), tl.float32)
    total = tl.zeros([block_m], tl.float32)
    acc = tl.zeros([block_m, block_d], tl.float32)
    within = tl.arange(0, block_n)
    # From a tile's edge on, so that tiles lie in pages; what is before the piece is masked.
    for n in range((start // block_n) * block_n, end, block_n):
        position = n + within
        inside = (position >= start) & (position < end)
        if lookup == 0:
            at = base + position
        elif lookup == 1:
            page = tl.load(pages + n // page_tokens).to(tl.int64)
            at = page * page_tokens + n % page_tokens + within
        else:
            page = tl.load(pages + position // page_tokens, mask=inside, other=0).to(tl.int64)
            at = page * page_tokens + position % page_tokens
        place = at[:, None] * (groups * dim) + group * dim + d[None, :]
        mask = inside[:, None] & (d < dim)[None, :]
        k = tl.load(keys + place, mask=mask, other=0.0)
        v = tl.load(values + place, mask=mask, other=0.0)
        score = tl.dot(q, tl.trans(k), input_precision=precision) * scale
        score = tl.where(inside[None, :] & (position[None, :] <= limit[:, None]), score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        shrink = tl.exp2(top - safe)
        weight = tl.exp2(score - safe[:, None])
        total = total * shrink + tl.sum(weight, 1)
        acc = acc * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=precision)
        top = higher
    if single:
        acc = acc / tl.where(total > 0, total, 1.0)[:, None]
        at_out = out + (token * heads + head)[:, None] * dim + d[None, :]
        tl.store(at_out, acc.to(out.dtype.element_ty), mask=real[:, None] & (d < dim)[None, :])
    else:
        cell = (piece.to(tl.int64) * max_query + column) * heads + head
        tl.store(maxima + cell, top, mask=real)
        tl.store(sums + cell, total, mask=real)
        at_out = partial + cell[:, None] * dim + d[None, :]
        tl.store(at_out, acc, mask=real[:, None] & (d < dim)[None, :])


@triton.jit
def _merge_pieces(
    out,
    partial,
    maxima,
    sums,
    query_starts,
    piece_first,
    max_query,
    heads: tl.constexpr,
    dim: tl.constexpr,
    block_p: tl.constexpr,
    block_d: tl.constexpr,
):
    head = tl.program_id(0)
    column = tl.program_id(1)
    row = tl.program_id(2)
    first = tl.load(query_starts + row)
    if column >= tl.load(query_starts + row + 1) - first:
        return
    begin = tl.load(piece_first + row)
    end = tl.load(piece_first + row + 1)
    d = tl.arange(0, block_d)
    top = float("-inf")
    total = 0.0
    acc = tl.zeros([block_d], tl.float32)
    for p in range(begin, end, block_p):
        piece = p + tl.arange(0, block_p)
        held = piece < end
        cell = (piece.to(tl.int64) * max_query + column) * heads + head
        m = tl.load(maxima + cell, mask=held, other=float("-inf"))
        higher = tl.maximum(top, tl.max(m, 0))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        old = tl.exp2(top - safe)
        scale = tl.exp2(m - safe)
        n = tl.load(
            partial + cell[:, None] * dim + d[None, :], mask=held[:, None] & (d < dim)[None, :], other=0.0
        )
        acc = acc * old + tl.sum(n * scale[:, None], 0)
        total = total * old + tl.sum(tl.load(sums + cell, mask=held, other=0.0) * scale, 0)
        top = higher
    acc = acc / tl.where(total > 0, total, 1.0)
    at = out + ((first + column).to(tl.int64) * heads + head) * dim + d
    tl.store(at, acc.to(out.dtype.element_ty), mask=d < dim)


def choose_tiles(lines: int, dim: int, dtype: torch.dtype, *, paged: bool = False) -> Tiles:
    """For ``lines`` query rows of a group (new tokens times heads that share K/V).

    Pages are looked up between loads, and a third stage then costs more than it hides: 492 us against 418 for
    48 rows of 8 thousand tokens in pages of 64 on an H200 (``python -m benchmarks.paged --sections cuts``).
    """
    if dtype == torch.float32:
        return Tiles(16 if lines <= 16 else 32 if lines <= 32 else 64, 32, 4, 2)
    stages = 3 if dim <= 128 and not paged else 2
    if lines <= 64:
        return Tiles(16 if lines <= 16 else 32 if lines <= 32 else 64, 64, 4, stages)
    return Tiles(128, 64, 8, stages)


def attend_pieces(
    query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float, tiles: Tiles | None = None
) -> torch.Tensor:
    """Same contract as :mod:`packings`; tokens that belong to no row are left undefined.

    Rows of the ragged packing that :func:`kernels.use_kernel` has not cut are whole.
    """
    query = query.contiguous()
    tokens, heads, dim = query.shape
    cache, pieces = batch.cache, batch.pieces
    if pieces is None:
        pieces = whole_rows(batch.kv_lens)
    groups, width = cache.kv_heads, cache.table.width
    keys, values = cache.layer(layer)
    out = torch.empty_like(query)
    if not pieces.width or not tokens:
        return out.zero_()
    lines = batch.max_query * (heads // groups)
    tiles = tiles or choose_tiles(lines, dim, query.dtype, paged=width > 1)
    lookup = ONE_PAGE if width == 1 else ANY if cache.page_tokens % tiles.block_n else WHOLE_TILES
    block_d = max(16, triton.next_power_of_2(dim))
    cells = 1 if pieces.single else pieces.width * batch.max_query * heads
    scratch = torch.empty(cells * (dim + 2), device=query.device, dtype=torch.float32)
    partial, maxima, sums = scratch[: cells * dim], scratch[cells * dim : -cells], scratch[-cells:]
    _attend_piece[(groups, pieces.width, triton.cdiv(lines, tiles.block_m))](
        query,
        keys,
        values,
        out,
        partial,
        maxima,
        sums,
        cache.table.device,
        batch.slots,
        batch.query_starts,
        batch.kv_lens,
        pieces.row,
        pieces.start,
        pieces.end,
        scale * LOG2_E,
        width,
        cache.page_tokens,
        batch.max_query,
        heads=heads,
        groups=groups,
        dim=dim,
        lookup=lookup,
        single=pieces.single,
        precision="ieee" if query.dtype == torch.float32 else "tf32",
        block_m=tiles.block_m,
        block_n=tiles.block_n,
        block_d=block_d,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    if not pieces.single:
        _merge_pieces[(heads, batch.max_query, batch.kv_lens.numel())](
            out,
            partial,
            maxima,
            sums,
            batch.query_starts,
            pieces.first,
            batch.max_query,
            heads=heads,
            dim=dim,
            block_p=8,
            block_d=block_d,
            num_warps=1,
        )
    return out
