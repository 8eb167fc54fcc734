"""Numbers of every live request in one array, so that a round reads and writes those of its rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class RequestRows:
    """A row of ``width`` numbers for every request that was asked for and is not forgotten.

    New rows hold ``fill``. ``values`` is replaced where more rows are needed: ask for it anew.
    """

    def __init__(self, width: int, fill: float) -> None:
        self._fill = fill
        self._rows: dict[int, int] = {}
        self._free = list(range(15, -1, -1))
        self.values = np.full((16, width), fill)

    def __contains__(self, request: int) -> bool:
        return request in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, requests: Sequence[int]) -> list[int]:
        """The requests' rows in :attr:`values`."""
        rows = self._rows
        return [rows[request] if request in rows else self._new(request) for request in requests]

    def all(self) -> list[int]:
        """The rows of all requests, the oldest first."""
        return list(self._rows.values())

    def forget(self, request: int) -> Array | None:
        """The numbers of a request that has ended; None where it has none."""
        row = self._rows.pop(request, None)
        if row is None:
            return None
        found: Array = self.values[row].copy()
        self.values[row] = self._fill
        self._free.append(row)
        return found

    def _new(self, request: int) -> int:
        if not self._free:
            rows = len(self.values)
            self._free = list(range(2 * rows - 1, rows - 1, -1))
            self.values = np.concatenate((self.values, np.full_like(self.values, self._fill)))
        row = self._rows[request] = self._free.pop()
        return row
