"""Which tokens of a catch-up a draft is asked about, and in which passes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spinsim.operations import ALL, CatchUp, scored

ROWS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=6)


def catch_up(rows: list[tuple[int, int, int]]) -> CatchUp:
    """Of (prompt, start, tokens) a row; request and slot are the row's number."""
    prompts, starts, tokens = map(list, zip(*rows, strict=True))
    return CatchUp(3, [*range(len(rows))], [*range(len(rows))], prompts, starts, tokens)


@given(ROWS, st.integers(1, 50))
def test_every_token_is_read_once_and_the_last_outputs_are_asked_about(
    rows: list[tuple[int, int, int]], most: int
) -> None:
    read: dict[int, list[int]] = {row: [] for row in range(len(rows))}
    asked: dict[int, list[int]] = {row: [] for row in range(len(rows))}
    plain, scoring = scored(catch_up(rows), most)
    for part in (plain, scoring):
        for row, start, tokens in zip(part.requests, part.starts, part.tokens, strict=True) if part else ():
            assert tokens > 0
            read[row] += range(start, start + tokens)
            if part is scoring:
                asked[row] += range(start, start + tokens)
    for row, (prompt, start, tokens) in enumerate(rows):
        positions = range(start, start + tokens)
        assert read[row] == list(positions)
        assert asked[row] == [position for position in positions if position >= prompt][-most:]


def test_all_or_none_are_one_pass() -> None:
    operation = catch_up([(4, 0, 9), (4, 6, 3)])
    assert scored(operation, 0) == (operation, None)
    assert scored(operation, ALL) == (None, operation)
