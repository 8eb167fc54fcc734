"""Sum over GPUs, residual and norm in one kernel: all ends on one GPU, or in Triton's interpreter."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are defined
    if tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4):
        pytest.skip("Triton's interpreter does not work with this numpy", allow_module_level=True)
pytest.importorskip("triton")

from spinsim.runner.layers.in_torch import add_rms_norm  # noqa: E402
from spinsim.runner.sharded.summed_norm import TURNS, SummedNorm  # noqa: E402
from spinsim.runner.sharded.summed_norm_trial import is_right  # noqa: E402


def ends_of(ranks: int, rows: int, hidden: int) -> list[SummedNorm]:
    """Of all ranks, in the memory of one device."""
    own = [[torch.zeros(rows * hidden, device=DEVICE) for _ in range(TURNS)] for _ in range(ranks)]
    raised = [
        [torch.zeros(rows, ranks, dtype=torch.int32, device=DEVICE) for _ in range(TURNS)]
        for _ in range(ranks)
    ]

    def addresses(held: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        return [
            torch.tensor([each[turn].data_ptr() for each in held], device=DEVICE) for turn in range(TURNS)
        ]

    parts, flags = addresses(own), addresses(raised)
    return [SummedNorm(rank, own[rank], raised[rank], parts, flags) for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 3])
def test_adds_the_sum_and_norms(ranks: int) -> None:
    """One end after the other: those that are still to come have raised their flags already."""
    torch.manual_seed(0)
    tokens, hidden = 3, 24
    ends, weight = ends_of(ranks, 4, hidden), torch.randn(hidden, device=DEVICE)
    held = [torch.randn(tokens, hidden, device=DEVICE)] * ranks
    held = [each.clone() for each in held]
    wanted_residual = held[0].clone()
    for turn in (0, 1, 0):
        total = sum(end.part(turn, tokens, hidden).normal_().clone() for end in ends)
        wanted = add_rms_norm(total, wanted_residual, weight, 1e-5)
        for end in ends:
            for later in range(end.rank + 1, ranks):
                end.raised[turn][:tokens, later] = 1
            found = end.join(turn, held[end.rank], weight, 1e-5, patience=0)
            torch.testing.assert_close(found, wanted)
            torch.testing.assert_close(held[end.rank], wanted_residual)
            assert not end.raised[turn].any(), "flags are down for the next time"
            # What it raised with those that were before it stands for their next turn alone.
            for earlier in range(end.rank):
                ends[earlier].raised[turn][:, end.rank] = 0


def test_a_rank_that_is_not_there_leaves_no_number() -> None:
    ends = ends_of(2, 1, 8)  # both stay: the one writes to the other's memory
    residual = torch.zeros(1, 8, device=DEVICE)
    assert ends[0].join(0, residual, torch.ones(8, device=DEVICE), 1e-5, patience=3).isnan().all()


class Alone:
    """The one rank that there is; ``others`` times its part are what other ranks would have added."""

    rank, ranks, device = 0, 1, torch.device(DEVICE)

    def __init__(self, others: int) -> None:
        self.others = others

    def everyone(self, here: bool) -> bool:
        return here

    def over_nccl(self, x: torch.Tensor, *, largest: bool = False) -> torch.Tensor:
        return x.mul_(1 + self.others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_before_it_is_used_it_is_held_against_a_sum_by_another_way(dtype: torch.dtype) -> None:
    rows, hidden = 5, 24
    own = [torch.zeros(rows * hidden, device=DEVICE, dtype=dtype) for _ in range(TURNS)]
    raised = [torch.zeros(rows, 1, dtype=torch.int32, device=DEVICE) for _ in range(TURNS)]
    parts, flags = (
        [torch.tensor([each.data_ptr()], device=DEVICE) for each in held] for held in (own, raised)
    )
    end = SummedNorm(0, own, raised, parts, flags)
    weight = torch.ones(hidden, dtype=dtype, device=DEVICE)
    assert is_right(Alone(others=0), end, rows, weight)
    assert not is_right(Alone(others=1), end, rows, weight)
