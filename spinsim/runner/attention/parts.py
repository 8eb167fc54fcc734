"""How the ragged packing cuts rows of K/V into parts, so that a GPU is busy to the end of a pass.

A program reads one part. One part a row leaves processors idle while the longest row is read, or where rows
are fewer than processors; short parts cost their merging. The length of a part is worked out on the device,
from the lengths of the rows, since a captured graph has room for a fixed number of parts. The rule is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from spinsim.runner.batch import Pieces, whole_rows

UNIT = 64  # tokens: parts are multiples of it, as tiles of K/V are
# Tokens of a part that fills the device, and of one that keeps it busy. 48 rows of 2 thousand tokens take
# 11.33 ms with parts of 512 and 11.04 with 1,024 (a pass of the 8B shape on an H200,
# `python -m benchmarks.verification_ways`).
SHORTEST, USUAL = 128, 1024
WAVES = 8  # times that all processors' programs are replaced, where rows are long enough
RESIDENT = 2  # programs that a processor runs at a time
BRIEF = 1024  # rows that can never be longer are not cut where they fill the device by themselves


@dataclass(frozen=True, slots=True)
class Cut:
    """``width`` parts in all at most; ``wave`` fill the device. As many as rows: nothing is cut."""

    width: int
    wave: int


def plan_cut(rows: int, groups: int, longest: int, processors: int) -> Cut:
    """For ``rows`` rows of up to ``longest`` tokens with ``groups`` K/V heads."""
    wave = -(-RESIDENT * processors // groups)
    if longest <= SHORTEST or (longest <= BRIEF and rows >= wave):
        return Cut(rows, wave)
    return Cut(min(rows + WAVES * wave, rows * -(-longest // SHORTEST)), wave)


def cut_rows(kv_lens: torch.Tensor, cut: Cut) -> Pieces:
    """The rows (int32 ``[R]``) in parts; spare ones have row -1. A row's parts are alike, but for rounding.

    With W parts and R rows, parts of ``total / (W - R)`` tokens or more are never more than W.
    """
    if cut.width <= len(kv_lens):
        return whole_rows(kv_lens)
    if kv_lens.is_cuda:
        from spinsim.runner.attention import parts_in_triton

        return parts_in_triton.cut_rows(kv_lens, cut.width, cut.wave, SHORTEST, USUAL, UNIT)
    return torch_cut_rows(kv_lens, cut)


def torch_cut_rows(kv_lens: torch.Tensor, cut: Cut) -> Pieces:
    """See :func:`cut_rows`."""
    rows, total = len(kv_lens), kv_lens.sum()
    even = ((total + cut.wave - 1) // cut.wave).clamp(SHORTEST, USUAL)
    length = torch.maximum(even, _up(total, cut.width - rows))
    parts = _up(kv_lens, length).clamp_min(1)
    each = (_up(_up(kv_lens, parts), UNIT) * UNIT).clamp_min(UNIT)
    until = _up(kv_lens, each).cumsum(0)
    first = torch.cat((until.new_zeros(1), until))
    at = torch.arange(cut.width, device=kv_lens.device)
    row = torch.searchsorted(until, at, right=True)
    real = row < rows
    row = row.where(real, 0)
    start = (at - first[row]) * each[row]
    end = torch.minimum(start + each[row], kv_lens[row])
    return Pieces(
        row.where(real, -1).int(),
        start.where(real, 0).int(),
        end.where(real, 0).int(),
        first.int(),
        0,
        cut.width,
    )


def _up(tokens: torch.Tensor, by: torch.Tensor | int) -> torch.Tensor:
    return (tokens + by - 1) // by
