"""Lossless verification as pure tensor functions: what is emitted is distributed as the target's own.

Shapes: R rows, up to K proposals each; ``lengths`` int64 ``[R]`` (0 where a row only decodes). The
target scored K + 1 positions per row. Greedy keeps a proposal while it is the target's argmax.
Sampling is the rejection rule of Leviathan, Kalman and Matias (ICML 2023, algorithm 1): keep x
with probability min(1, p(x)/q(x)); at the first rejection draw from norm(max(p - q, 0)), after
the last acceptance from p. p and q are taken after temperature and top-p.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Judged(NamedTuple):
    """``accepted`` int64 ``[R]``; ``tokens`` int64 ``[R, K + 1]``: the first accepted + 1 of a row count."""

    accepted: torch.Tensor
    tokens: torch.Tensor


def distribution(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Probabilities (float32) after temperature and top-p; ``temperature`` > 0.

    Top-p keeps the smallest set of most likely tokens whose probability reaches ``top_p``
    (Holtzman et al., ICLR 2020), and always the most likely one.
    """
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    if top_p >= 1.0:
        return probabilities
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1, dtype=torch.float64) - ordered
    ordered = ordered.masked_fill(before >= top_p, 0.0)
    kept = torch.zeros_like(probabilities).scatter_(-1, index, ordered)
    return kept / kept.sum(-1, keepdim=True)


def draw(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """One index per row of ``weights`` ``[..., V]`` (not normalised), by inverting the distribution.

    A token of weight 0 is never drawn; ``uniforms`` float64 ``[...]`` in [0, 1).
    """
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    target = uniforms[..., None] * cumulative[..., -1:]
    index = torch.searchsorted(cumulative, target.contiguous(), right=True)[..., 0]
    return index.clamp_max(weights.shape[-1] - 1)


def leading(keep: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """How many of the first ``lengths[i]`` flags of ``[R, K]`` are set before the first that is not."""
    within = torch.arange(keep.shape[1], device=keep.device) < lengths[:, None]
    return (keep & within).long().cumprod(1).sum(1)


def verify_greedy(best: torch.Tensor, proposals: torch.Tensor, lengths: torch.Tensor) -> Judged:
    """``best`` ``[R, K + 1]``: the target's argmaxes; ``proposals`` ``[R, K]``."""
    return Judged(leading(proposals == best[:, :-1], lengths), best)


def verify_sampled(
    target: torch.Tensor,
    draft: torch.Tensor,
    proposals: torch.Tensor,
    lengths: torch.Tensor,
    accept: torch.Tensor,
    emit: torch.Tensor,
) -> Judged:
    """``target`` ``[R, K + 1, V]`` and ``draft`` ``[R, K, V]`` probabilities, float32.

    ``accept`` ``[R, K]`` and ``emit`` ``[R, K + 1]`` are uniform numbers, one per position.
    """
    rows, width = proposals.shape
    index = proposals.clamp_min(0)[..., None]
    p = target[:, :-1].gather(-1, index)[..., 0]
    q = draft.gather(-1, index)[..., 0]
    accepted = leading(accept * q < p, lengths)
    row = torch.arange(rows, device=target.device)
    here = target[row, accepted]
    if width:
        rejected = (accepted < lengths)[:, None]
        residual = (here - draft[row, accepted.clamp_max(width - 1)]).clamp_min(0)
        # p = q up to rounding leaves no residual; then a rejection is itself a rounding error.
        use = rejected & (residual.sum(-1, keepdim=True) > 0)
        here = torch.where(use, residual, here)
    own = draw(here, emit[row, accepted])
    tokens = torch.cat((proposals, proposals.new_zeros(rows, 1)), 1)
    tokens[row, accepted] = own
    return Judged(accepted, tokens)
