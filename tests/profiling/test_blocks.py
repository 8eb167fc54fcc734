"""K/V on the bench lie as in a run."""

from __future__ import annotations

from typing import Any

import pytest

from spinsim.profiling.blocks import Laid


class Table:
    """Stands in for a runner: remembers what its page table holds."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}
        self.written: list[int] = []

    def share(self) -> None:
        self.held = {}

    def hold(self, slots: Any, blocks: Any) -> None:
        self.written.append(len(slots))
        self.held.update(zip(slots, map(list, blocks), strict=True))


@pytest.mark.parametrize("blocks", [32, 9])
@pytest.mark.parametrize("scattered", [True, False])
def test_every_row_has_blocks_for_the_longest_context(blocks: int, scattered: bool) -> None:
    table: Any = Table()
    laid = Laid(table, slots=4, tokens=16 * blocks + 5, context_tokens=100, block=16)
    laid.lay(scattered=scattered)
    assert [len(table.held[slot]) for slot in range(4)] == [7] * 4
    used = [block for held in table.held.values() for block in held]
    assert set(used) <= set(range(blocks))
    assert (len(set(used)) == len(used)) == (blocks >= 28)
    assert (used == [at % blocks for at in range(28)]) != scattered


def test_before_a_pass_the_rows_that_grew_are_written() -> None:
    table: Any = Table()
    laid = Laid(table, slots=48, tokens=4096, context_tokens=64, block=16)
    laid.lay(scattered=True)
    laid.grown(48)
    laid.grown(1)
    assert table.written == [48, 9, 1]


def test_whole_slots_lie_where_they_are() -> None:
    table: Any = Table()
    laid = Laid(table, slots=4, tokens=400, context_tokens=100, block=None)
    laid.lay(scattered=True)
    laid.grown(4)
    assert table.written == []
