"""Prompt lookup replayed over recorded token ids: what it would have proposed, and how much of it was right.

Where the last n tokens of the context were seen earlier in it, the tokens that followed them there are
proposed (Saxena, prompt lookup decoding, 2023; ``ngram`` in vLLM). Nothing but token ids decides that, so
that a recording which keeps them says exactly what such a drafter would have done at every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LONGEST_MATCH = 64  # a longer match is told as this: nothing more follows from it


@dataclass(frozen=True, slots=True)
class PromptLookup:
    """``smallest`` to ``largest`` suffix sizes are tried, the largest first; its earliest occurrence counts.

    ``longest``: tokens of a proposal. The defaults are those of SpecDecode-Bench's recording: with them the
    replay has the recorded length at 99.98 % (gsm8k) and 99.95 % (instructcoder) of all positions, and
    differs only where the recorded run reaches past the end of the output.
    """

    smallest: int = 3
    largest: int = 7
    longest: int = 20


class Looked(NamedTuple):
    """By output position: length of the suffix that was found, tokens on offer, and how many were right."""

    matched: list[int]
    offered: list[int]
    runs: list[int]


def look_up(prompt: Sequence[int], output: Sequence[int], settings: PromptLookup) -> Looked:
    """Replay the drafter at every position of ``output``, after ``prompt``.

    A match is extended backwards beyond ``largest``, as far as both contexts agree: how long it is says how
    much it can be relied on. Proposals are not compared past the end of the output.
    """
    tokens = [*prompt, *output]
    sizes = range(settings.smallest, settings.largest + 1)
    first: dict[tuple[int, ...], int] = {}  # where the first occurrence of an n-gram ends
    looked = Looked([], [], [])
    for end in range(1, len(tokens)):
        if end >= len(prompt):
            size, at = _longest(tokens, end, first, settings)
            offered = min(settings.longest, end - at) if size else 0
            looked.matched.append(_extended(tokens, at, end, size) if size else 0)
            looked.offered.append(offered)
            looked.runs.append(_agreeing(tokens, at, end, offered))
        for size in sizes:
            if size <= end:
                first.setdefault(tuple(tokens[end - size : end]), end)
    return looked


def _longest(
    tokens: Sequence[int], end: int, first: dict[tuple[int, ...], int], settings: PromptLookup
) -> tuple[int, int]:
    """Size of the longest suffix of ``tokens[:end]`` that is known, and where its first occurrence ends."""
    for size in range(min(settings.largest, end), settings.smallest - 1, -1):
        at = first.get(tuple(tokens[end - size : end]))
        if at is not None:
            return size, at
    return 0, 0


def _extended(tokens: Sequence[int], at: int, end: int, size: int) -> int:
    while size < min(LONGEST_MATCH, at) and tokens[at - size - 1] == tokens[end - size - 1]:
        size += 1
    return size


def _agreeing(tokens: Sequence[int], at: int, end: int, offered: int) -> int:
    run = 0
    while run < offered and end + run < len(tokens) and tokens[at + run] == tokens[end + run]:
        run += 1
    return run
