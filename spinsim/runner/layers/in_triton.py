# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""The elementwise parts of a LLaMA-like layer, fused: one kernel each instead of five to ten."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _add_rms_norm(delta, residual, weight, out, epsilon, width, add: tl.constexpr, block: tl.constexpr):
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
    _silu_times[(tokens, triton.cdiv(width, 1024))](both, out, width, block=1024, num_warps=4)
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
    block: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    half: tl.constexpr = dim // 2
    d = tl.arange(0, block)
    mask = d < half
    source = qkv + token * (heads + 2 * groups) * dim + head * dim
    low = tl.load(source + d, mask=mask, other=0.0)
    high = tl.load(source + half + d, mask=mask, other=0.0)
    at = tl.load(write + token).to(tl.int64) * groups * dim
    if head >= heads + groups:
        target = values + at + (head - heads - groups) * dim
        tl.store(target + d, low, mask=mask)
        tl.store(target + half + d, high, mask=mask)
    else:
        if head < heads:  # noqa: SIM108 (pointers: no ternary)
            target = query + (token * heads + head) * dim
        else:
            target = keys + at + (head - heads) * dim
        a = low.to(tl.float32)
        b = high.to(tl.float32)
        if normed:
            scale = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / dim + epsilon)
            if head < heads:  # noqa: SIM108
                weight = query_weight
            else:
                weight = key_weight
            a = (a * scale).to(low.dtype).to(tl.float32) * tl.load(weight + d, mask=mask, other=0.0)
            b = (b * scale).to(low.dtype).to(tl.float32) * tl.load(weight + half + d, mask=mask, other=0.0)
        angle = tl.load(positions + token).to(tl.int64) * half + d
        cosine = tl.load(cosines + angle, mask=mask, other=0.0)
        sine = tl.load(sines + angle, mask=mask, other=0.0)
        tl.store(target + d, (a * cosine - b * sine).to(low.dtype), mask=mask)
        tl.store(target + half + d, (b * cosine + a * sine).to(low.dtype), mask=mask)


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
    _rotate_and_store[(tokens, heads + 2 * groups)](
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
        block=triton.next_power_of_2(dim // 2),
        num_warps=1,
    )
    return query
