"""K/V on the bench lie as in a run."""

from __future__ import annotations

from itertools import pairwise
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
    in_order = all((b - a) % blocks == 1 for held in table.held.values() for a, b in pairwise(held))
    assert in_order != scattered


@pytest.mark.parametrize("rows", [1, 3, 4, 24, 32])
def test_rows_share_no_block_before_the_cache_is_full(rows: int) -> None:
    """Contexts of 416 blocks, of which the cache holds less than three."""
    table: Any = Table()
    laid = Laid(table, slots=32, tokens=64 * 960, context_tokens=64 * 416, block=64)
    laid.lay(scattered=True)
    laid.part(rows)
    each = min(960 // rows, 416)
    used = [block for row in range(rows) for block in table.held[row][:each]]
    assert len(set(used)) == len(used) == rows * each
    assert [len(table.held[row]) for row in range(32)] == [416] * 32


@pytest.mark.parametrize("rows", [1, 4, 48])
def test_tables_are_written_before_as_many_passes_as_in_a_run(rows: int) -> None:
    """A row that grows by 3 tokens a pass takes a new block of 16 before 3 passes of 16."""
    table: Any = Table()
    laid = Laid(table, slots=48, tokens=4096, context_tokens=64, block=16)
    laid.lay(scattered=True)
    passes = 320
    for _ in range(passes):
        laid.grown(rows)
    written = table.written[1:]
    assert len(written) == pytest.approx(passes * (1 - (13 / 16) ** rows), abs=1)
    assert sum(written) == pytest.approx(passes * rows * 3 / 16, rel=0.3)


def test_whole_slots_lie_where_they_are() -> None:
    table: Any = Table()
    laid = Laid(table, slots=4, tokens=400, context_tokens=100, block=None)
    laid.lay(scattered=True)
    laid.grown(4)
    assert table.written == []
