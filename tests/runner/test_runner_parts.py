"""Rows in parts: every token once, never more parts than there is room for, parts of a row alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinsim.runner.attention.parts import (
    SHORTEST,
    UNIT,
    USUAL,
    Cut,
    cut_rows,
    plan_cut,
    torch_cut_rows,
    whole_rows,
)

LENGTHS = st.lists(st.integers(0, 40_000), min_size=1, max_size=40)


@given(lengths=LENGTHS, extra=st.integers(1, 300), wave=st.integers(1, 300))
def test_parts_cover_every_token_once(lengths: list[int], extra: int, wave: int) -> None:
    found = torch_cut_rows(torch.tensor(lengths, dtype=torch.int32), Cut(len(lengths) + extra, wave))
    row, start, end, first = (table.tolist() for table in found[:4])
    assert first[-1] <= found.width == len(row) == len(lengths) + extra
    for number, length in enumerate(lengths):
        mine = range(first[number], first[number + 1])
        assert [row[i] for i in mine] == [number] * len(mine)
        edges = [start[i] for i in mine] + [length]
        assert edges[0] == 0
        assert [end[i] for i in mine] == edges[1:]
        sizes = [end[i] - start[i] for i in mine]
        assert all(size > 0 for size in sizes)
        assert all(size == sizes[0] and size % UNIT == 0 for size in sizes[:-1])
        assert not sizes[1:] or sizes[-1] <= sizes[0]
    assert set(row[first[-1] :]) <= {-1}


@given(lengths=LENGTHS, rows=st.integers(0, 100), groups=st.integers(1, 32))
def test_a_plan_has_room_for_any_lengths(lengths: list[int], rows: int, groups: int) -> None:
    """Whatever a captured graph meets, up to the longest that it was captured for."""
    lengths += [0] * rows
    cut = plan_cut(len(lengths), groups, 40_000, 132)
    found = cut_rows(torch.tensor(lengths, dtype=torch.int32), cut)
    assert int(found.first[-1]) <= found.width == cut.width


@pytest.mark.parametrize(
    ("rows", "longest", "least", "most"),
    [(48, 2048, SHORTEST, USUAL), (48, 8192, USUAL, 2048), (1, 16384, 448, 576), (4, 600, SHORTEST, 192)],
)
def test_parts_fill_the_device_and_are_not_too_short(rows: int, longest: int, least: int, most: int) -> None:
    cut = plan_cut(rows, 8, 16_384, 132)
    found = cut_rows(torch.full((rows,), longest, dtype=torch.int32), cut)
    size = int((found.end - found.start).max())
    assert least <= size <= most
    parts = int(found.first[-1])
    assert parts >= min(cut.wave // 2, rows * longest // SHORTEST)


def test_short_rows_that_fill_the_device_are_not_cut() -> None:
    assert plan_cut(40, 8, 1024, 132).width == 40
    lengths = torch.tensor([5, 0, 900], dtype=torch.int32)
    found = whole_rows(lengths)
    assert found.single
    assert found.end.tolist() == lengths.tolist()
    assert found.first.tolist() == [0, 1, 2, 3]
