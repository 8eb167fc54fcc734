"""The three packings of batched attention in plain torch: any device, any dtype, no own kernels.

Shapes: ``query`` ``[T, heads, dim]`` packed over rows, result alike; ``heads`` is a multiple of
the cache's KV heads (grouped queries). The j-th of a row's n new tokens sees positions up to
``kv_len - n + j``. Rows without K/V yield zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spinsim.runner.batch import AttentionBatch, Pieces, Rows

NOWHERE = 1 << 40  # a position that no query sees


def attend(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """As the batch's table of pieces asks for: none, one a row, or several a row."""
    if batch.pieces is None:
        return attend_rows(query, batch, layer, scale)
    if batch.pieces.single:
        return attend_padded(query, batch, layer, scale)
    return attend_decomposed(query, batch, layer, scale)


def attend_rows(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """Ragged: every row by itself over its own K/V. Nothing is padded."""
    rows = batch.rows or Rows(
        batch.slots.tolist(),
        (batch.query_starts[1:] - batch.query_starts[:-1]).tolist(),
        batch.kv_lens.tolist(),
    )
    out = torch.zeros_like(query)
    begin = 0
    for slot, new, total in zip(*rows, strict=True):
        end = begin + new
        if new and total:
            q = query[begin:end].transpose(0, 1)[None]
            k, v = (part.transpose(0, 1)[None] for part in batch.cache.of_slot(layer, slot, total))
            mask = None
            if new > 1:
                mask = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
            part = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
            )
            out[begin:end] = part[0].transpose(0, 1)
        begin = end
    return out


def pad_queries(
    query: torch.Tensor, batch: AttentionBatch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries as ``[R, Q, heads, dim]``, with (row, column) of every packed token to go back."""
    starts = batch.query_starts.long()
    rows, width = starts.numel() - 1, max(1, batch.max_query)
    token = torch.arange(query.shape[0], device=query.device)
    row = torch.searchsorted(starts[1:].contiguous(), token, right=True).clamp_max(rows - 1)
    column = (token - starts[row]).clamp_max(width - 1)
    padded = query.new_zeros(rows, width, *query.shape[1:])
    padded[row, column] = query
    return padded, row, column


def gather_pieces(
    batch: AttentionBatch, pieces: Pieces, layer: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """K and V of all pieces ``[W, L, kv_heads, dim]``, and the positions they cover ``[W, L]``."""
    positions = pieces.start.long()[:, None] + torch.arange(pieces.length, device=batch.cache.device)
    slots = batch.slots[pieces.row.long().clamp_min(0)]
    beyond = positions >= pieces.end.long()[:, None]
    flat = batch.cache.table.flat(slots[:, None], positions)  # beyond the row or slot: masked below
    keys, values = batch.cache.layer(layer)
    return keys[flat], values[flat], positions.masked_fill(beyond, NOWHERE)


def last_visible(batch: AttentionBatch, width: int) -> torch.Tensor:
    """``[R, width]``: the last position that each padded query sees; -1 where it is no query."""
    new = (batch.query_starts[1:] - batch.query_starts[:-1]).long()[:, None]
    column = torch.arange(width, device=new.device)
    return torch.where(column < new, batch.kv_lens.long()[:, None] - new + column, -1)


def attend_padded(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """Padded: all rows as long as the longest, one masked call. The paper's baseline.

    Raises ValueError for pieces that were cut for a kernel: it needs one a row, of a length the host knows.
    """
    assert batch.pieces is not None
    if not batch.pieces.width:
        return torch.zeros_like(query)
    if not batch.pieces.single or (not batch.pieces.length and batch.max_kv):
        raise ValueError("padded rows were cut into parts for a kernel; build the batch without them")
    if not batch.pieces.length:
        return torch.zeros_like(query)  # no row has any K/V
    padded, row, column = pad_queries(query, batch)
    keys, values, positions = gather_pieces(batch, batch.pieces, layer)
    member = batch.pieces.row.long()
    visible = positions[:, None] <= last_visible(batch, padded.shape[1])[member][..., None]
    # A padding query must see something, or its softmax is 0/0; what it sees is never read.
    visible[..., 0] |= ~visible.any(-1)
    part = F.scaled_dot_product_attention(
        padded[member].transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=visible[:, None],
        scale=scale,
        enable_gqa=query.shape[1] != keys.shape[2],
    )
    out = torch.zeros_like(padded).index_copy_(0, member, part.transpose(1, 2))
    return out[row, column]


def attend_decomposed(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """Decomposed: pieces of length L with replicated queries, merged by log-sum-exp.

    Piece p yields its row maximum m_p, row sum s_p and un-normalised output n_p; a row's output is
    sum_p exp(m_p - m) n_p / sum_p exp(m_p - m) s_p with m = max_p m_p. The indicator (piece ->
    row) says which pieces are summed. Our reading of SPIN (Chen et al., INFOCOM 2025), section
    on request decomposition. Raises ValueError for pieces whose length the host does not know.
    """
    assert batch.pieces is not None
    pieces = batch.pieces
    if not pieces.width:
        return torch.zeros_like(query)
    if not pieces.length and batch.max_kv:
        raise ValueError("rows were cut into parts for a kernel; build the batch without them")
    padded, row, column = pad_queries(query, batch)
    rows, width, heads, dim = padded.shape
    keys, values, positions = gather_pieces(batch, pieces, layer)
    groups = keys.shape[2]
    member = pieces.row.long().clamp_min(0)  # -1 is a spare piece: empty, it adds nothing
    # [W, groups, heads per group * Q, dim]: the heads of a group share K/V, so they are queries.
    q = padded.view(rows, width, groups, heads // groups, dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(rows, groups, -1, dim)[member]
    scores = torch.matmul(q, keys.permute(0, 2, 3, 1)).float() * scale
    hidden = positions[:, None] > last_visible(batch, width)[member][..., None]  # [W, Q, L]
    hidden = hidden[:, None].expand(-1, heads // groups, -1, -1).flatten(1, 2)[:, None]
    scores = scores.masked_fill(hidden, float("-inf"))
    m = scores.amax(-1, keepdim=True)
    weights = torch.exp(scores - m.clamp_min(torch.finfo(m.dtype).min))  # a hidden piece: all zeros
    s = weights.sum(-1, keepdim=True)
    n = torch.matmul(weights.to(values.dtype), values.permute(0, 2, 1, 3)).float()
    shape = (rows, groups, q.shape[2], 1)
    top = m.new_full(shape, float("-inf"))
    top = top.scatter_reduce_(0, member[:, None, None, None].expand_as(m), m, "amax")
    factor = torch.exp(m - top[member].clamp_min(torch.finfo(m.dtype).min))
    numerator = n.new_zeros(*shape[:3], dim).index_add_(0, member, factor * n)
    denominator = s.new_zeros(shape).index_add_(0, member, factor * s)
    merged = torch.where(denominator > 0, numerator / denominator, 0.0)
    out = merged.view(rows, groups, heads // groups, width, dim).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, width, heads, dim)[row, column].to(query.dtype)
