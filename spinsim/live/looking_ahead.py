"""What lookups find before anybody drafts, for policies that choose by it; its table is for replays."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.acceptance.known_text import EVERYTHING, Lookup
from spinsim.live.replayed_inputs import Diverged
from spinsim.policies.base import NOT_LOOKED_UP

LOOKUPS = pa.schema(
    [
        ("request", pa.int32()),
        ("position", pa.int32()),  # output tokens when the round began
        ("matched", pa.list_(pa.int32())),  # by draft; -1 for those that look nothing up
        ("offered", pa.list_(pa.int32())),
        ("agreed", pa.list_(pa.int32())),  # empty where the round did not end
    ]
)
TABLE = "lookups.parquet"
Context = Callable[[int, int], "array[int]"]  # (request, output tokens): prompt and output so far


class Found(NamedTuple):
    """Of one request before one round, by draft."""

    matched: list[int]
    offered: list[int]
    agreed: list[int]


class LookingAhead:
    """Implements :class:`spinsim.engine.world.Lookups`: looks in every request's own tokens.

    Called on the engine's thread, whose time it takes: a server has to look before it can choose. Lookups
    that are chosen look again in their lane, with a state of their own. ``said`` is what a replay needs.
    """

    def __init__(self, make: Mapping[int, Callable[[], Lookup]], drafts: int, context: Context) -> None:
        self._lookups = {draft: new() for draft, new in make.items()}
        self._drafts, self._context = drafts, context
        self._found: dict[int, dict[int, list[int]]] = {}  # by request and draft, of the last look
        self.said: dict[tuple[int, int], Found] = {}

    def at(self, request: int, position: int) -> tuple[Sequence[int], Sequence[int]]:
        """See :class:`spinsim.engine.world.Lookups`."""
        context = self._context(request, position)
        matched, offered = [NOT_LOOKED_UP] * self._drafts, [NOT_LOOKED_UP] * self._drafts
        found = self._found[request] = {}
        for draft, lookup in self._lookups.items():
            found[draft] = lookup.propose(request, context, EVERYTHING)
            matched[draft], offered[draft] = lookup.matched, len(found[draft])
        self.said[request, position] = Found(matched, offered, [])
        return matched, offered

    def agreed(self, request: int, position: int, committed: int) -> Sequence[int]:
        """See :class:`spinsim.engine.world.Lookups`."""
        new = self._context(request, position + committed)[-committed:]
        agreed = self.said[request, position].agreed
        agreed += [NOT_LOOKED_UP] * self._drafts
        for draft, found in self._found[request].items():
            count = 0
            while count < min(len(found), committed) and found[count] == new[count]:
                count += 1
            agreed[draft] = count
        return agreed

    def ended(self, request: int, output: Sequence[int]) -> None:
        """The request has ended."""
        self._found.pop(request, None)
        for lookup in self._lookups.values():
            lookup.ended(request, output)

    def table(self) -> pa.Table:
        """A row for each request and round, in order."""
        rows = [{"request": r, "position": p, **found._asdict()} for (r, p), found in self.said.items()]
        return pa.Table.from_pylist(rows, schema=LOOKUPS)


class LookedUp:
    """Implements :class:`spinsim.engine.world.Lookups` with what a live run wrote down."""

    def __init__(self, path: Path) -> None:
        columns = pq.read_table(path, schema=LOOKUPS).to_pydict()
        rows = zip(*(columns[name] for name in LOOKUPS.names), strict=True)
        self._said = {(request, position): Found(*found) for request, position, *found in rows}

    def at(self, request: int, position: int) -> tuple[Sequence[int], Sequence[int]]:
        """Raises Diverged where the run did not look."""
        found = self._of(request, position)
        return found.matched, found.offered

    def agreed(self, request: int, position: int, committed: int) -> Sequence[int]:
        """Raises Diverged where the run did not look."""
        return self._of(request, position).agreed

    def _of(self, request: int, position: int) -> Found:
        found = self._said.get((request, position))
        if found is None:
            raise Diverged(f"request {request} looks its text up at token {position}, and did not before")
        return found
