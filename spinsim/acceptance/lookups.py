"""What lookup drafters know before they propose, as it was recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from spinsim.recording import Recording

NOT_LOOKED_UP = -1  # of a draft that does not look its proposals up
Rows = tuple[list[int], list[int]]
Known = tuple[list[int], list[int], list[int]]  # by position: tokens matched, tokens on offer, of which right
Replays = Callable[[int], Mapping[int, Known]]  # by request and draft, of drafters that are replayed


class KnownLookups(Protocol):
    """What lookups find at the end of a request's context, before they propose: see the engine's protocol."""

    def at(self, request: int, position: int) -> Rows: ...

    def agreed(self, request: int, position: int, committed: int) -> list[int]: ...

    def forget(self, request: int) -> None: ...


class RecordedLookups:
    """What every lookup drafter found at the end of a request's context.

    A draft's recording has no lookup where it is a model, and is None where ``replays`` know the draft.
    ``rows[request]``: the recorded request that stands for it.
    """

    def __init__(
        self, recordings: Sequence[Recording | None], rows: Sequence[int], replays: Replays | None = None
    ) -> None:
        self._recordings, self._replays = recordings, replays
        self._rows = rows
        self._kept: dict[int, list[Known | None]] = {}

    def at(self, request: int, position: int) -> Rows:
        """Tokens matched and on offer, by draft, after ``position`` output tokens; 0 past the recording."""
        known = self._of(request)
        return (
            [_at(each[0], position) if each else NOT_LOOKED_UP for each in known],
            [_at(each[1], position) if each else NOT_LOOKED_UP for each in known],
        )

    def agreed(self, request: int, position: int, committed: int) -> list[int]:
        """By draft: how many of the ``committed`` tokens from ``position`` on it had on offer, in a row."""
        return [
            NOT_LOOKED_UP if each is None else min(_at(each[2], position), committed)
            for each in self._of(request)
        ]

    def forget(self, request: int) -> None:
        """Release what is kept of a request that ended."""
        self._kept.pop(request, None)

    def _of(self, request: int) -> list[Known | None]:
        known = self._kept.get(request)
        if known is None:
            row = self._rows[request]
            known = [_read(recording, row) for recording in self._recordings]
            for draft, replayed in (self._replays(request) if self._replays else {}).items():
                known[draft] = replayed
            self._kept[request] = known
        return known


def _read(recording: Recording | None, row: int) -> Known | None:
    lookup = None if recording is None else recording.lookup
    if recording is None or lookup is None:
        return None
    matched, offered = lookup.matched.row(row).tolist(), lookup.offered.row(row).tolist()
    runs = recording.rows.row(row).tolist()
    return matched, offered, [min(pair) for pair in zip(runs, offered, strict=False)]


def _at(values: list[int], position: int) -> int:
    return values[position] if position < len(values) else 0
