"""Busy time is the length of a union of intervals."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spinsim.results.lanes import FOREVER, Union

INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=25)


@given(INTERVALS)
def test_union_equals_counting_every_unit_once(intervals: list[tuple[int, int]]) -> None:
    covered = {unit for start, length in intervals for unit in range(start, start + length)}
    starts = np.array([start for start, _ in intervals], dtype=np.int64)
    ends = np.array([start + length for start, length in intervals], dtype=np.int64)
    whole = Union()
    whole.add(starts, ends, FOREVER)
    assert whole.length == len(covered)
