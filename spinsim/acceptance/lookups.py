"""What lookup drafters know before they propose, as it was recorded."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.recording import Recording

NOT_LOOKED_UP = -1  # of a draft that does not look its proposals up
Rows = tuple[list[int], list[int]]
Known = tuple[list[int], list[int], list[int]]  # by position: tokens matched, tokens on offer, of which right


class RecordedLookups:
    """What every lookup drafter found at the end of a request's context.

    ``lookups[draft]`` is None where a draft is a model. ``rows[request]``: the recorded request that stands
    for it.
    """

    def __init__(self, recordings: Sequence[Recording], rows: Sequence[int]) -> None:
        self._recordings = recordings
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
            known = self._kept[request] = [_read(recording, row) for recording in self._recordings]
        return known


def _read(recording: Recording, row: int) -> Known | None:
    lookup = recording.lookup
    if lookup is None:
        return None
    matched, offered = lookup.matched.row(row).tolist(), lookup.offered.row(row).tolist()
    runs = recording.rows.row(row).tolist()
    return matched, offered, [min(pair) for pair in zip(runs, offered, strict=False)]


def _at(values: list[int], position: int) -> int:
    return values[position] if position < len(values) else 0
