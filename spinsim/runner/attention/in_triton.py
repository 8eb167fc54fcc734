# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""All three packings as one CUDA kernel over pieces of K/V, read in place from the slots.

A program takes one piece of one row and one K/V head; the query heads of that group are rows of
the same matrix product. What differs between the packings is the table of pieces alone:

padded       one piece a row, all as long as the longest: the padding is read and masked
decomposed   pieces of length L, the last one of a row padded; partials merged by log-sum-exp
ragged       each row's own length in ``splits`` parts (Flash-Decoding, Dao et al. 2023), no padding

All lengths are read from device memory, so that a captured graph follows them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spinsim.runner.batch import AttentionBatch

LOG2_E = 1.4426950408889634


@triton.jit
def _attend_piece(
    query,
    keys,
    values,
    out,
    partial,
    maxima,
    sums,
    slots,
    query_starts,
    kv_lens,
    piece_row,
    piece_start,
    piece_end,
    scale,
    slot_tokens,
    max_query,
    heads: tl.constexpr,
    groups: tl.constexpr,
    dim: tl.constexpr,
    splits: tl.constexpr,
    single: tl.constexpr,
    precision: tl.constexpr,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_d: tl.constexpr,
):
    piece = tl.program_id(0)
    group = tl.program_id(1)
    share: tl.constexpr = heads // groups
    if splits > 0:  # noqa: SIM108 (a compile-time branch)
        row = piece // splits
    else:
        row = tl.load(piece_row + piece)
    if row < 0:
        return
    first = tl.load(query_starts + row)
    new = tl.load(query_starts + row + 1) - first
    begin_m = tl.program_id(2) * block_m
    if begin_m >= new * share:
        return
    kv = tl.load(kv_lens + row)
    if splits > 0:
        part = tl.cdiv(tl.cdiv(kv, splits), block_n) * block_n
        start = (piece % splits) * part
        end = tl.minimum(start + part, kv)
    else:
        start = tl.load(piece_start + piece)
        end = tl.minimum(tl.load(piece_end + piece), slot_tokens)
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
    base = tl.load(slots + row).to(tl.int64) * slot_tokens
    top = tl.full([block_m], float("-inf"), tl.float32)
    total = tl.zeros([block_m], tl.float32)
    acc = tl.zeros([block_m, block_d], tl.float32)
    for n in range(start, end, block_n):
        position = n + tl.arange(0, block_n)
        inside = position < end
        at = (base + position)[:, None] * (groups * dim) + group * dim + d[None, :]
        mask = inside[:, None] & (d < dim)[None, :]
        k = tl.load(keys + at, mask=mask, other=0.0)
        v = tl.load(values + at, mask=mask, other=0.0)
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
    splits: tl.constexpr,
    block_d: tl.constexpr,
):
    row = tl.program_id(0)
    column = tl.program_id(1)
    head = tl.program_id(2)
    first = tl.load(query_starts + row)
    if column >= tl.load(query_starts + row + 1) - first:
        return
    if splits > 0:
        begin = row * splits
        end = begin + splits
    else:
        begin = tl.load(piece_first + row)
        end = tl.load(piece_first + row + 1)
    d = tl.arange(0, block_d)
    top = float("-inf")
    total = 0.0
    acc = tl.zeros([block_d], tl.float32)
    for piece in range(begin, end):
        cell = (tl.cast(piece, tl.int64) * max_query + column) * heads + head
        m = tl.load(maxima + cell)
        higher = tl.maximum(top, m)
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        old = tl.exp2(top - safe)
        scale = tl.exp2(m - safe)
        n = tl.load(partial + cell * dim + d, mask=d < dim, other=0.0)
        acc = acc * old + n * scale
        total = total * old + tl.load(sums + cell) * scale
        top = higher
    acc = acc / tl.where(total > 0, total, 1.0)
    at = out + ((first + column).to(tl.int64) * heads + head) * dim + d
    tl.store(at, acc.to(out.dtype.element_ty), mask=d < dim)


def choose_splits(rows: int, groups: int, longest: int, processors: int) -> int:
    """Parts that each row is cut into, so that about two waves of programs fill the device."""
    wanted = -(-2 * processors // max(1, rows * groups))
    return max(1, min(wanted, 16, longest // 128))


def attend_pieces(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """Same contract as :mod:`packings`; tokens that belong to no row are left undefined."""
    query = query.contiguous()
    tokens, heads, dim = query.shape
    cache = batch.cache
    groups = cache.kv_heads
    keys, values = cache.layer(layer)
    rows = batch.kv_lens.numel()
    pieces = batch.pieces
    width, splits = rows, 0
    if pieces is None:
        processors = 1
        if query.is_cuda:
            processors = torch.cuda.get_device_properties(query.device).multi_processor_count
        splits = choose_splits(rows, groups, batch.max_kv, processors)
        width = rows * splits
    else:
        width = pieces.width
    single = splits == 1 or batch.kind == "padded"
    out = torch.empty_like(query)
    if not width or not tokens:
        return out.zero_()
    lines = batch.max_query * (heads // groups)
    block_m = 16 if lines <= 16 else 32 if lines <= 32 else 64
    block_d = max(16, triton.next_power_of_2(dim))
    wide = query.dtype == torch.float32
    block_n = 32 if wide else 64
    cells = 1 if single else width * batch.max_query * heads
    scratch = torch.empty(cells * (dim + 2), device=query.device, dtype=torch.float32)
    partial, maxima, sums = scratch[: cells * dim], scratch[cells * dim : -cells], scratch[-cells:]
    table = (batch.slots,) * 3 if pieces is None else (pieces.row, pieces.start, pieces.end)
    _attend_piece[(width, groups, triton.cdiv(lines, block_m))](
        query,
        keys,
        values,
        out,
        partial,
        maxima,
        sums,
        batch.slots,
        batch.query_starts,
        batch.kv_lens,
        *table,
        scale * LOG2_E,
        cache.slot_tokens,
        batch.max_query,
        heads=heads,
        groups=groups,
        dim=dim,
        splits=splits,
        single=single,
        precision="ieee" if wide else "tf32",
        block_m=block_m,
        block_n=block_n,
        block_d=block_d,
        num_warps=4,
        num_stages=2 if wide or block_d > 128 else 3,
    )
    if not single:
        _merge_pieces[(rows, batch.max_query, heads)](
            out,
            partial,
            maxima,
            sums,
            batch.query_starts,
            batch.slots if pieces is None else pieces.first,
            batch.max_query,
            heads=heads,
            dim=dim,
            splits=splits,
            block_d=block_d,
            num_warps=1,
        )
    return out
