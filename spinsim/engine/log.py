"""Rounds and operations as they happen, noted at little cost and moved to the records in blocks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from spinsim.engine.records import Operations, Records, Rounds
from spinsim.operations import Packing

BLOCK = 512  # rounds

# An operation as it is noted, in the order of Operations' columns; the last two are -1 until it has run.
Noted = list[int]
# A round: its header up to ``committed_ns``, its packing, and its rows' columns, in the order of Rounds.
Header = tuple[int, int, int, int, int, int, int]
Columns = tuple[list[int], list[int], list[int], list[int], list[int], list[int], list[int]]


class Log:
    """What :class:`~spinsim.engine.records.Records` keeps in columns, while it grows.

    A column takes a call for each number, and a round has thirty: as tuples they cost one.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self.operations: list[Noted] = []
        self._rounds: list[tuple[Header, Packing, Columns]] = []
        self._running: list[tuple[int, Noted]] = []  # that are in the records already, with their ids

    def round(self, header: Header, packing: Packing, columns: Columns) -> None:
        """Note a round. The lists are the log's from now on."""
        self._rounds.append((header, packing, columns))
        if len(self._rounds) == BLOCK:
            self.flush()

    def flush(self) -> None:
        """Move everything to the records.

        Raises OverflowError for a number that a column has no room for.
        """
        self._flush_rounds(self._records.rounds)
        self._flush_operations(self._records.operations)

    def _flush_rounds(self, rounds: Rounds) -> None:
        noted, self._rounds = self._rounds, []
        if not noted:
            return
        headers, packings, columns = zip(*noted, strict=True)
        kinds, *shapes = zip(*packings, strict=True)
        rounds.packing.extend(kinds)
        _extend(rounds.header, (*zip(*headers, strict=True), *shapes))
        _extend(rounds.row, map(chain.from_iterable, zip(*columns, strict=True)))

    def _flush_operations(self, operations: Operations) -> None:
        still_running = []
        for index, noted in self._running:
            *_, operations.started_ns[index], operations.finished_ns[index] = noted
            if noted[-1] < 0:
                still_running.append((index, noted))
        self._running = still_running
        noted_now, self.operations = self.operations, []
        if not noted_now:
            return
        first = len(operations.lane)
        _extend(operations.columns, zip(*noted_now, strict=True))
        running = [(first + i, noted) for i, noted in enumerate(noted_now) if noted[-1] < 0]
        self._running.extend(running)


def _extend(columns: Iterable[Any], values: Iterable[Iterable[int]]) -> None:
    for column, more in zip(columns, values, strict=True):
        column.fromlist(list(more))  # twice as fast as extend
