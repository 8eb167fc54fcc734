"""The elementwise parts of a LLaMA-like layer in plain torch: the CPU path, and the kernels' reference."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def add_rms_norm(
    delta: torch.Tensor | None, residual: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """``residual += delta`` in place; returns its RMS norm. All ``[T, hidden]``."""
    if delta is not None:
        residual.add_(delta)
    return _rms_norm(residual, weight, epsilon)


def silu_times(both: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of ``[T, 2 * width]``, gate first."""
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate) * up


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
    """As :func:`triton_layers.rotate_and_store`."""
    groups, dim = keys.shape[1:]
    parts = qkv.view(qkv.shape[0], -1, dim)
    query, key, value = parts[:, :heads], parts[:, heads : heads + groups], parts[:, heads + groups :]
    if norms is not None:
        query, key = _rms_norm(query, norms[0], epsilon), _rms_norm(key, norms[1], epsilon)
    both = torch.cat((query, key), 1)
    cosine, sine = (table[positions][:, None] for table in rotary)
    low, high = both.float().chunk(2, dim=-1)
    both = torch.cat((low * cosine - high * sine, high * cosine + low * sine), -1).to(qkv.dtype)
    keys.index_copy_(0, write.long(), both[:, heads:])
    values.index_copy_(0, write.long(), value)
    return both[:, :heads]
