"""Recorded token ids, for drafters whose proposals follow from them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.cached import Draw, Offers
from spinsim.acceptance.lookups import Known, Replays
from spinsim.acceptance.other_text import OtherText
from spinsim.recording import Trace
from spinsim.workload.request import Request

EVERYTHING = 10**9  # tokens asked for: as many as a drafter ever proposes


class Text(NamedTuple):
    """Token ids (type code "i") of a request. ``output`` may go on beyond the request's end."""

    prompt: array[int]
    output: array[int]

    @staticmethod
    def of(prompt: NDArray[np.generic], output: NDArray[np.generic]) -> Text:
        """From recorded ids."""
        return Text(_ids(prompt), _ids(output))


class Replayed(NamedTuple):
    """What a drafter does at each output position of a known text, from 0 on.

    ``offered[p]`` tokens proposed there when the longest proposal is asked for, of which the text confirms
    ``runs[p]`` in a row. ``matched[p]`` tokens at the context's end decided what is proposed.
    """

    runs: list[int]
    offered: list[int]
    matched: list[int]


class Lookup(Protocol):
    """Proposals out of token ids (arrays of type code "i"), on the host. One serves a run, on one thread.

    A request's contexts come in order: each begins with the one before. ``matched``: tokens at the end of the
    last context that decided what was proposed; 0 where nothing was found.
    """

    matched: int

    def propose(self, request: int, context: array[int], most: int) -> list[int]:
        """At most ``most`` tokens after ``context`` (prompt and output so far); none if nothing is found."""
        ...

    def ended(self, request: int, output: Sequence[int]) -> None:
        """The request has ended with this output, and may be forgotten or learned from."""
        ...


def replay(lookup: Lookup, text: Text, positions: int, most: int, request: int = 0) -> Replayed:
    """What ``lookup`` does at output positions 0 to ``positions`` - 1; 0 where the text ends before.

    At position p it knows the prompt and p tokens of the output. Nothing is proposed at position 0, which
    prefill yields. That a proposal stands, where token ids are known, depends on no model: also when
    sampling, since of a certain proposal exactly the token that was drawn is accepted.
    """
    whole = text.prompt + text.output
    start, count = len(text.prompt), min(positions, len(text.output))
    runs, offered, matched = [0] * positions, [0] * positions, [0] * positions
    for position in range(1, count):
        end = start + position
        found = lookup.propose(request, whole[:end], most)
        offered[position], matched[position] = len(found), lookup.matched
        runs[position] = _agreeing(found, whole[end : end + len(found)])
    return Replayed(runs, offered, matched)


def _agreeing(proposed: Sequence[int], said: Sequence[int]) -> int:
    count = 0
    for one, other in zip(proposed, said, strict=False):
        if one != other:
            break
        count += 1
    return count


class Texts:
    """The text of every request of a workload, by its number, out of a recording that keeps token ids."""

    def __init__(self, trace: Trace, rows: Sequence[int], requests: Sequence[Request]) -> None:
        """``rows[request]`` is the recorded request that stands for it."""
        assert trace.prompts is not None
        assert trace.outputs is not None
        self._prompts, self._outputs = trace.prompts, trace.outputs
        self._rows, self._requests = rows, requests

    def __getitem__(self, request: int) -> Text:
        row, own = self._rows[request], self._requests[request].prompt
        prompt = array("i", own) if own is not None else _ids(self._prompts.row(row))
        return Text(prompt, _ids(self._outputs.row(row)))

    def output(self, request: int) -> array[int]:
        """As much of the output as the request generates."""
        return self[request].output[: self._requests[request].output_tokens]


# (all texts, the request, how many positions): what a drafter does there, whatever was asked before
Reads = Callable[[Texts, int, int], Replayed]


NO_READERS: Mapping[str, Reads] = MappingProxyType({})
KEPT = 256  # requests whose replay is kept: more than are served at once


def read_texts(
    draw: Draw, drafts: Sequence[str], reading: Mapping[str, Reads], texts: Texts, positions: Sequence[int]
) -> tuple[Draw, Offers, Replays]:
    """``draw``, which has the other drafts' runs in order, with those of ``reading``; and what these find.

    A request's replay is kept while it is asked for.
    """

    @lru_cache(maxsize=KEPT)
    def replayed(request: int) -> dict[str, Replayed]:
        return {name: reads(texts, request, positions[request]) for name, reads in reading.items()}

    def drawn(request: int) -> list[list[int]]:
        known, others = replayed(request), iter(draw(request))
        return [known[name].runs if name in known else next(others) for name in drafts]

    def offers(request: int) -> list[list[int] | None]:
        known = replayed(request)
        return [known[name].offered if name in known else None for name in drafts]

    def known(request: int) -> dict[int, Known]:
        found = replayed(request)
        return {
            number: (found[name].matched, found[name].offered, found[name].runs)
            for number, name in enumerate(drafts)
            if name in found
        }

    return drawn, offers, known


def offered_by_other(offers: Offers, departs: Callable[[int], OtherText | None]) -> Offers:
    """Offers of a text that departs from the recorded one: those of the positions that stand for its own."""

    def moved(request: int) -> Sequence[Sequence[int] | None]:
        found, other = offers(request), departs(request)
        if other is None:
            return found
        before, after = other.departure, other.source.tolist()
        return [
            each if each is None else [*each[:before], *(each[position] for position in after)]
            for each in found
        ]

    return moved


def _ids(values: NDArray[np.generic]) -> array[int]:
    ids = array("i")
    ids.frombytes(values.astype(np.int32).tobytes())
    return ids


__all__ = [
    "EVERYTHING",
    "NO_READERS",
    "Lookup",
    "Reads",
    "Replayed",
    "Text",
    "Texts",
    "offered_by_other",
    "read_texts",
    "replay",
]
