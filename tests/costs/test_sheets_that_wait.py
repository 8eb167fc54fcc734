"""What a sheet says of a program that reads a row from end to end, and of products near the ridge."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.costs.operators import PassCosts
from spinsim.costs.roofline import RooflinePredictor
from spinsim.costs.sheets.hardware import Hardware, hardware_of
from spinsim.costs.sheets.shapes import shape_of
from spinsim.operations import Packing
from spinsim.packings.decomposed import Decomposed, decompose

SHAPE = shape_of("llama-3-8b")
H200 = hardware_of("h200")
FREE = replace(H200, row_token_s=0.0)
LONG = 26_624


class Context:
    """What a packing is told of its run."""

    def __init__(self, hardware: Hardware) -> None:
        self.predictor = RooflinePredictor(PassCosts(SHAPE, "bf16", hardware), [], None)

    def within(self, context: int, length: int = 0) -> int:
        return context


def verify(hardware: Hardware, packing: Packing) -> float:
    return Context(hardware).predictor.verify(packing).seconds


def test_a_divided_pass_waits_for_a_piece() -> None:
    """One row of 26,624 tokens in one piece: every layer's program reads all of it."""
    whole = decompose([LONG], [1], LONG)
    waited = SHAPE.layers * LONG * H200.row_token_s
    read = PassCosts(SHAPE, "bf16", H200).attention.seconds(LONG, 1, LONG)
    assert verify(H200, whole) - verify(FREE, whole) == pytest.approx(waited - read, rel=0.1)
    assert 20e-3 < waited < 30e-3  # 23.5 to 25.3 ms measured
    halves = decompose([LONG], [1], LONG // 2)
    assert verify(H200, halves) < 0.6 * verify(H200, whole)


def test_rows_that_are_cut_wait_for_nothing() -> None:
    ragged = Packing("ragged", 1, LONG, 1, LONG, 1, LONG)
    assert verify(H200, ragged) == verify(FREE, ragged)


def test_a_pass_of_few_new_tokens_waits_for_its_longest_row() -> None:
    """64 tokens after 26,560: 32.4 ms measured on an H200 where all that is read takes 2.6."""
    sheets, free = Context(H200).predictor, Context(FREE).predictor
    assert sheets.prefill([64], [LONG - 64]).seconds == pytest.approx(32.4e-3, rel=0.1)
    assert free.prefill([64], [LONG - 64]).seconds < 10e-3
    # Rows beside each other are waited for once, and the cut kernel of 16 tokens not at all.
    together = sheets.prefill([32, 32], [LONG - 32, 100]).seconds
    assert together == pytest.approx(sheets.prefill([64], [LONG - 64]).seconds, rel=0.05)
    assert sheets.prefill([16], [LONG - 16]).seconds == free.prefill([16], [LONG - 16]).seconds


def test_a_plan_is_not_the_longest_piece_where_that_is_waited_for() -> None:
    """Shorter pieces read no less, and were once left out of the search for it."""
    planned = Decomposed(Decomposed.Params(), Context(H200)).search([LONG, 600, 600], [5, 5, 5])
    assert planned.piece < LONG // 8
    assert verify(H200, planned) < 0.5 * verify(H200, decompose([LONG, 600, 600], [5, 5, 5], LONG))


@given(st.integers(1, 4096))
def test_the_ridge_is_between_the_larger_part_and_both(tokens: int) -> None:
    sharp = PassCosts(SHAPE, "bf16", replace(H200, ridge=math.inf))
    summed = PassCosts(SHAPE, "bf16", replace(H200, ridge=1.0))
    ours = PassCosts(SHAPE, "bf16", H200)
    assert sharp.product(tokens, 4096, 4096) < ours.product(tokens, 4096, 4096)
    assert ours.product(tokens, 4096, 4096) < summed.product(tokens, 4096, 4096)
    assert ours.product(tokens, 4096, 4096) <= 2 ** (1 / H200.ridge) * sharp.product(tokens, 4096, 4096)
