"""Messages from one process to others through shared memory: a ring of records of fixed size.

A message is an int64 vector. What is longer than a record takes several. The writer waits while a reader is a
whole ring behind; readers wait without using the processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spinsim.runner.graphs.buffers import Array

RECORDS, WORDS = 64, 4096  # of int64; the first word of a record says how many words are still to come


class Behind(TimeoutError):
    """A reader took nothing out of a full ring for as long as the writer waits."""


class Ring:
    """One writer, ``readers`` readers, each of which reads every message.

    ``context`` of multiprocessing: a ring travels to processes as they are started, and in no other way.
    """

    def __init__(
        self, context: Any, readers: int, *, records: int = RECORDS, words: int = WORDS, patience_s: float
    ) -> None:
        self._memory = context.RawArray("q", records * words)
        self._filled = [context.Semaphore(0) for _ in range(readers)]
        self._free = [context.Semaphore(records) for _ in range(readers)]
        self._shape, self._patience_s, self._next = (records, words), patience_s, 0

    def _records(self) -> Array:
        return np.frombuffer(self._memory, np.int64).reshape(self._shape)

    def write(self, message: Array) -> None:
        """Hand a message to every reader. Raises Behind."""
        records = self._records()
        room = self._shape[1] - 1
        for begin in range(0, max(1, len(message)), room):
            for free in self._free:
                if not free.acquire(timeout=self._patience_s):
                    raise Behind(f"a rank took no call for {self._patience_s:g} s")
            record = records[self._next % self._shape[0]]
            part = message[begin : begin + room]
            record[0] = len(message) - begin
            record[1 : 1 + len(part)] = part
            self._next += 1
            for filled in self._filled:
                filled.release()

    def read(self, reader: int) -> Array:
        """The next message, once it is there; the caller's own."""
        records, parts, left = self._records(), [], 1
        room = self._shape[1] - 1
        while left > 0:
            self._filled[reader].acquire()
            record = records[self._next % self._shape[0]]
            left = int(record[0])
            parts.append(record[1 : 1 + min(left, room)].copy())
            self._next += 1
            left -= room
            self._free[reader].release()
        return np.concatenate(parts)

    def close(self) -> None:
        """Give back its semaphores, which are the system's. The writer's, once no reader is left."""
        self._filled.clear()
        self._free.clear()
