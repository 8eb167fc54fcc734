"""The kernel of sum, residual and norm on the GPUs at hand: is it right between them, and how fast?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:  # it needs Triton
    from spinsim.runner.sharded.summed_norm import SummedNorm

REPEATS = 20  # of a sum in the graph that is timed; an even number, since some take turns
ROUNDS = 5  # of that graph; the fastest counts
TRIAL = 1 << 22  # polls for another GPU's flag, as it is tried: some seconds
EPSILON = 1e-5  # of the norms that are tried and timed


class Peers(Protocol):
    """The GPUs of a divided target, as one of them (``rank`` of ``ranks``) sees them."""

    rank: int
    ranks: int
    device: torch.device

    def everyone(self, here: bool) -> bool:
        """Is it so on every rank? All that their GPUs were given before is done then."""
        ...

    def over_nccl(self, x: torch.Tensor, *, largest: bool = False) -> torch.Tensor:
        """``x`` becomes the sum of all ranks', or the largest of each number."""
        ...


@dataclass(frozen=True, slots=True)
class InOne:
    """``end``: of this rank, where every rank's works; else ``why_not``.

    ``measured``: by tokens, seconds that residual and norm take longer with the sum in their kernel than by
    themselves. Of the slowest rank, so that all ranks decide alike.
    """

    end: SummedNorm | None = None
    why_not: str = ""
    measured: dict[int, float] = field(default_factory=dict)


def tried(peers: Peers, group: Any, hidden: int, dtype: torch.dtype, sizes: Sequence[int]) -> InOne:
    """Open the kernel between the GPUs of a process group, hold it against plain sums, and time it.

    ``sizes``: the numbers of tokens that are timed, as far as it takes them. All ranks call it.
    """
    end: SummedNorm | None = None
    weight, why_not = torch.ones(hidden, dtype=dtype, device=peers.device), "another rank lacks it"
    try:
        from spinsim.runner.sharded import summed_norm

        end = summed_norm.over_symmetric_memory(group, peers.rank, peers.ranks, hidden, dtype, peers.device)
        # Compiled and loaded on every GPU, before one waits for another.
        end.join(0, torch.zeros(1, hidden, dtype=dtype, device=peers.device), weight, 1.0, patience=1)
    except Exception as error:  # whatever the compiler or the driver lacks: sums go another way
        why_not = " ".join(str(error).split())[:200] or type(error).__name__
    if not peers.everyone(end is not None) or end is None:
        return InOne(why_not=why_not)
    end.raised[0].zero_()
    peers.everyone(True)
    right = [is_right(peers, end, tokens, weight) for tokens in (1, 5, summed_norm.ROWS)]
    if not peers.everyone(all(right)):
        return InOne(why_not="it differs from a sum, then residual and norm")
    small = [tokens for tokens in sizes if tokens <= summed_norm.ROWS]
    return InOne(end, measured={tokens: _longer_s(peers, end, tokens, weight) for tokens in small})


def is_right(peers: Peers, end: SummedNorm, tokens: int, weight: torch.Tensor) -> bool:
    """Does it what NCCL's sum, then residual and norm do? With whole numbers, exact in any order."""
    from spinsim.runner.layers import in_triton

    most = 64 // peers.ranks  # bf16 has all whole numbers up to 256
    residual = torch.zeros(tokens, weight.shape[0], dtype=weight.dtype, device=peers.device)
    wanted, right = residual.clone(), True
    for turn in range(2):
        part = end.part(turn, *residual.shape).random_(-most, most + 1)
        normed = in_triton.add_rms_norm(peers.over_nccl(part.clone()), wanted, weight, EPSILON)
        found = end.join(turn, residual, weight, EPSILON, patience=TRIAL)
        right = right and torch.equal(residual, wanted)
        right = right and torch.allclose(found, normed, rtol=2 * torch.finfo(weight.dtype).eps)
    return right


def _longer_s(peers: Peers, end: SummedNorm, tokens: int, weight: torch.Tensor) -> float:
    from spinsim.runner.layers import in_triton

    residual = torch.zeros(tokens, weight.shape[0], dtype=weight.dtype, device=peers.device)
    delta = torch.zeros_like(residual)

    def together() -> None:
        for at in range(REPEATS):
            end.join(at % 2, residual, weight, EPSILON)

    def norms() -> None:
        for _ in range(REPEATS):
            in_triton.add_rms_norm(delta, residual, weight, EPSILON)

    times = torch.tensor([captured_s(each, peers.device) for each in (together, norms)], device=peers.device)
    both, norm = peers.over_nccl(times, largest=True).tolist()
    return max(0.0, float(both - norm) / REPEATS)


def captured_s(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of what ``work`` puts on a GPU, within a CUDA graph; the fastest of some."""
    cuda: Any = torch.cuda
    graph, stream = cuda.CUDAGraph(), cuda.Stream(device)
    with torch.inference_mode(), torch.cuda.stream(stream):
        work()
        stream.synchronize()
        graph.capture_begin(capture_error_mode="thread_local")
        work()
        graph.capture_end()
        graph.replay()
        stream.synchronize()
        best = float("inf")
        for _ in range(ROUNDS):
            begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            best = min(best, begin.elapsed_time(end) * 1e-3)
    return best
