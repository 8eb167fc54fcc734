# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""The elementwise parts of a LLaMA-like layer, fused: one kernel each instead of five to ten."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

HEADS = 16  # of a token that one program rotates and stores


@triton.jit
def _add_rms_norm(
    delta,
    residual,
    weight,
    out,
    epsilon,
    width,
    add: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    mask = column < width
    x = tl.load(residual + row * width + column, mask=mask, other=0.0)
    if add:
        x = x + tl.load(delta + row * width + column, mask=mask, other=0.0)
        tl.store(residual + row * width + column, x, mask=mask)
    x = x.to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 0) / width + epsilon)
    w = tl.load(weight + column, mask=mask, other=0.0)
    tl.store(out + row * width + column, w * x.to(w.dtype), mask=mask)


def add_rms_norm(
    delta: torch.Tensor | None, residual: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """``residual += delta`` in place; returns its RMS norm. All ``[T, hidden]``."""
    tokens, width = residual.shape
    out = torch.empty_like(residual)
    block = triton.next_power_of_2(width)
    _add_rms_norm[(tokens,)](
        residual if delta is None else delta,
        residual,
        weight,
        out,
        epsilon,
        width,
        add=delta is not None,
        block=block,
        num_warps=4 if block <= 2048 else 8,
    )
    return out


@triton.jit
def _silu_times(both, out, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    mask = column < width
    gate = tl.load(both + row * 2 * width + column, mask=mask, other=0.0)
    up = tl.load(both + row * 2 * width + width + column, mask=mask, other=0.0)
    x = gate.to(tl.float32)
    x = (x / (1.0 + tl.exp(-x))).to(up.dtype)
    tl.store(out + row * width + column, x * up, mask=mask)


def silu_times(both: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of ``[T, 2 * width]``, gate first."""
    tokens, double = both.shape
    width = double // 2
    out = torch.empty(tokens, width, device=both.device, dtype=both.dtype)
    grid = (tokens, triton.cdiv(width, 1024))
    _silu_times[grid](both, out, width, block=1024, num_warps=4)
    return out


@triton.jit
def _rotate_and_store(
    qkv,
    cosines,
    sines,
    positions,
    write,
    query_weight,
    key_weight,
    query,
    keys,
    values,
    epsilon,
    heads: tl.constexpr,
    groups: tl.constexpr,
    dim: tl.constexpr,
    normed: tl.constexpr,
    block_h: tl.constexpr,
    block: tl.constexpr,
):
    # Several heads of a token a program: with one each there were more programs than work.
    token = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * block_h + tl.arange(0, block_h))[:, None]
    half: tl.constexpr = dim // 2
    d = tl.arange(0, block)[None, :]
    within = d < half
    is_query = head < heads
    is_value = head >= heads + groups
    real = (head < heads + 2 * groups) & within
    source = qkv + token * (heads + 2 * groups) * dim + head * dim + d
    low = tl.load(source, mask=real, other=0.0)
    high = tl.load(source + half, mask=real, other=0.0)
    a = low.to(tl.float32)
    b = high.to(tl.float32)
    if normed:
        scale = tl.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / dim + epsilon)[:, None]
        of_low = tl.where(
            is_query,
            tl.load(query_weight + d, mask=within, other=0.0),
            tl.load(key_weight + d, mask=within, other=0.0),
        )
        of_high = tl.where(
            is_query,
            tl.load(query_weight + half + d, mask=within, other=0.0),
            tl.load(key_weight + half + d, mask=within, other=0.0),
        )
        a = (a * scale).to(low.dtype).to(tl.float32) * of_low
        b = (b * scale).to(low.dtype).to(tl.float32) * of_high
    angle = tl.load(positions + token).to(tl.int64) * half + d
    cosine = tl.load(cosines + angle, mask=within, other=0.0)
    sine = tl.load(sines + angle, mask=within, other=0.0)
    turned_low = (a * cosine - b * sine).to(low.dtype)
    turned_high = (b * cosine + a * sine).to(low.dtype)
    to_query = query + (token * heads + head) * dim + d
    tl.store(to_query, turned_low, mask=real & is_query)
    tl.store(to_query + half, turned_high, mask=real & is_query)
    at = tl.load(write + token).to(tl.int64) * groups * dim + d
    to_keys = keys + at + (head - heads) * dim
    is_key = real & (head >= heads) & (head < heads + groups)
    tl.store(to_keys, turned_low, mask=is_key)
    tl.store(to_keys + half, turned_high, mask=is_key)
    to_values = values + at + (head - heads - groups) * dim
    tl.store(to_values, low, mask=real & is_value)
    tl.store(to_values + half, high, mask=real & is_value)


def rotate_and_store(
    qkv: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    positions: torch.Tensor,
    write: torch.Tensor,
    norms: tuple[torch.Tensor, torch.Tensor] | None,
    epsilon: float,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """Rotates queries and keys (normed per head before, where ``norms`` is given), stores K and V.

    ``qkv`` ``[T, (heads + 2 groups) * dim]``; ``keys``, ``values`` flat caches ``[., groups, dim]``;
    ``rotary`` float32 tables ``[positions, dim / 2]``. Returns queries ``[T, heads, dim]``.
    """
    tokens = qkv.shape[0]
    groups, dim = keys.shape[1:]
    query = torch.empty(tokens, heads, dim, device=qkv.device, dtype=qkv.dtype)
    weights = norms if norms is not None else rotary
    _rotate_and_store[(tokens, triton.cdiv(heads + 2 * groups, HEADS))](
        qkv,
        *rotary,
        positions,
        write,
        *weights,
        query,
        keys,
        values,
        epsilon,
        heads=heads,
        groups=groups,
        dim=dim,
        normed=norms is not None,
        block_h=HEADS,
        block=triton.next_power_of_2(dim // 2),
        num_warps=4,
    )
    return query
