# mypy: disable-error-code="import,no-untyped-def,no-untyped-call,misc,untyped-decorator"
"""A sum over GPUs, the residual and the norm after it, in one kernel.

Each GPU leaves its part in memory that the others can read, raises a flag with every other GPU for every row,
waits for theirs, and reads their parts itself. There is no second meeting before a part may be overwritten:
sums take turns between two parts, and whoever has passed the next sum has read the last one. So sums come in
pairs, turn 0 and turn 1, in the same order on all GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

TURNS = 2
ROWS = 256  # of a sum at most
UNIT = 128  # numbers; parts begin at multiples of it
PATIENCE = 2**31 - 1  # polls for a flag: minutes, after which who waits for a lost GPU has long been told


# One kernel however long one waits: compiling another would keep the others waiting.
@triton.jit(do_not_specialize=["patience"])
def _add_summed_norm(
    parts, flags, residual, weight, out, epsilon, width, patience,
    rank: tl.constexpr, ranks: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    for peer in tl.static_range(ranks):
        if peer != rank:
            theirs = tl.load(flags + peer).to(tl.pointer_type(tl.int32))
            tl.atomic_xchg(theirs + row * ranks + rank, 1, sem="release", scope="sys")
    own = tl.load(flags + rank).to(tl.pointer_type(tl.int32)) + row * ranks
    seen = 0
    for peer in tl.static_range(ranks):
        if peer != rank:
            # Taken as it is seen, so that it is down when its turn comes again.
            raised = tl.atomic_xchg(own + peer, 0, sem="acquire", scope="sys")
            polls = 0
            while (raised == 0) & (polls < patience):
                raised = tl.atomic_xchg(own + peer, 0, sem="acquire", scope="sys")
                polls += 1
            seen += raised
    column = tl.arange(0, block)
    mask = column < width
    total = tl.zeros([block], tl.float32)
    for peer in tl.static_range(ranks):
        part = tl.load(parts + peer).to(tl.pointer_type(residual.dtype.element_ty))
        part = tl.multiple_of(part, 16)  # bytes, or every number would be read by itself
        found = tl.load(part + row * width + column, mask=mask, other=0.0, volatile=True)
        total += found.to(tl.float32)
    total = tl.where(seen == ranks - 1, total, float("nan"))
    x = tl.load(residual + row * width + column, mask=mask, other=0.0)
    x = x + total.to(x.dtype)
    tl.store(residual + row * width + column, x, mask=mask)
    x = x.to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 0) / width + epsilon)
    w = tl.load(weight + column, mask=mask, other=0.0)
    tl.store(out + row * width + column, w * x.to(w.dtype), mask=mask)


@dataclass(frozen=True, slots=True)
class SummedNorm:
    """Of ``rank``. By turn: ``own``, its part ``[numbers]``, and ``raised``, its flags.

    Flags are int32 ``[rows, ranks]``, zeros at first. ``parts`` and ``flags``: by turn, the addresses of all
    ranks' parts and flags, int64 ``[ranks]`` on the rank's GPU.
    """

    rank: int
    own: Sequence[torch.Tensor]
    raised: Sequence[torch.Tensor]
    parts: Sequence[torch.Tensor]
    flags: Sequence[torch.Tensor]

    def part(self, turn: int, tokens: int, hidden: int) -> torch.Tensor:
        """Where the rank's summand ``[tokens, hidden]`` goes."""
        return self.own[turn][: tokens * hidden].view(tokens, hidden)

    def join(
        self,
        turn: int,
        residual: torch.Tensor,
        weight: torch.Tensor,
        epsilon: float,
        patience: int = PATIENCE,
    ) -> torch.Tensor:
        """``residual`` ``[T, hidden]`` gains the sum of all ranks' parts; returns its RMS norm.

        All ranks add in the same order, so that they get the same bits. NaN where a rank was not there
        within ``patience`` polls.
        """
        tokens, width = residual.shape
        out = torch.empty_like(residual)
        block = triton.next_power_of_2(width)
        _add_summed_norm[(tokens,)](
            self.parts[turn],
            self.flags[turn],
            residual,
            weight,
            out,
            epsilon,
            width,
            patience,
            rank=self.rank,
            ranks=len(self.parts[turn]),
            block=block,
            num_warps=4 if block <= 2048 else 8,
        )
        return out


def over_symmetric_memory(
    group: Any, rank: int, ranks: int, hidden: int, dtype: torch.dtype, device: torch.device
) -> SummedNorm:
    """The rank's end, for sums of up to ``ROWS`` tokens between the GPUs of a process group. All ranks call.

    Raises RuntimeError where the GPUs cannot read each other's memory.
    """
    import torch.distributed._symmetric_memory as symmetric_memory

    memory: Any = symmetric_memory
    numbers, waits = -(-ROWS * hidden // UNIT) * UNIT, -(-ROWS * ranks // UNIT) * UNIT

    def shared(count: int, kind: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """By turn: ``count`` zeros that the others can read, and the addresses of everybody's."""
        buffer = memory.empty(TURNS * count, dtype=kind, device=device).zero_()
        handle = memory.rendezvous(buffer, group)
        addresses = []
        for turn in range(TURNS):
            places = [
                handle.get_buffer(peer, (count,), kind, turn * count).data_ptr() for peer in range(ranks)
            ]
            addresses.append(torch.tensor(places, dtype=torch.int64, device=device))
        return list(buffer.view(TURNS, count)), addresses

    own, parts = shared(numbers, dtype)
    raised, flags = shared(waits, torch.int32)
    return SummedNorm(rank, own, raised, parts, flags)
