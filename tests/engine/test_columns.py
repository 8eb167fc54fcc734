"""Columns of records, in memory and in a file: nobody can tell which."""

from __future__ import annotations

import pickle
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.engine import columns
from spinsim.engine.columns import Column, Names, blocks

NUMBERS = st.lists(st.integers(-(2**15), 2**15 - 1), max_size=9)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK", 4)


@given(
    st.lists(NUMBERS, max_size=6), st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([2, 4, 100])
)
def test_a_column_is_a_list_of_numbers(parts: list[list[int]], low: int, high: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "BLOCK", block)
        column, wanted = Column("h"), list[int]()
        for number, part in enumerate(parts):
            if number % 3 == 0:
                column.fromlist(part)
            elif number % 3 == 1:
                column.frombytes(array("h", part).tobytes())
            else:
                for value in part:
                    column.append(value)
            wanted += part
            if wanted:
                column[len(wanted) // 2] = wanted[len(wanted) // 2] = 7
                column[-1] = wanted[-1] = 8
        assert len(column) == len(wanted)
        assert column[low:high].tolist() == wanted[low:high]
        assert column.tolist() == list(column) == wanted
        assert [column[i] for i in range(-len(wanted), len(wanted))] == wanted * 2
        assert [v for part in blocks(len(column)) for v in column[part].tolist()] == wanted
        assert column == pickle.loads(pickle.dumps(column)) == Column("h", wanted)
        whole = np.asarray(column)
        assert whole.dtype == np.int16
        assert whole.tolist() == wanted


def test_a_number_without_room_is_an_error() -> None:
    column = Column("h")
    for add in (lambda: column.append(1 << 15), lambda: column.fromlist([1 << 15])):
        with pytest.raises(OverflowError):
            add()


@pytest.mark.usefixtures("small")
def test_what_is_old_is_in_a_file() -> None:
    column = Column("q")
    for value in range(10):
        column.append(value)
    assert len(column._tail) < 4
    assert column._file is not None
    assert column.count(3) == 1
    assert column != Column("q", range(9))
    with pytest.raises(IndexError):
        column[10]


@pytest.mark.usefixtures("small")
def test_names_are_numbers_with_labels() -> None:
    names = Names(["b", "a"])
    names.extend(["b"] * 7)
    names.append("c")
    assert names.labels == ["b", "a", "c"]
    assert names == ["b", "a", *"bbbbbbb", "c"]
    assert names[1] == "a"
    assert names[-2:] == ["b", "c"]
    assert names.codes[:3].tolist() == [0, 1, 0]
