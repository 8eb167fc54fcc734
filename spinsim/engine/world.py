"""The protocol between the engine and the world that executes its operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import simpy

from spinsim.operations import Completed, Operation

NS = 1_000_000_000


class Lane(NamedTuple):
    """One first-in-first-out queue on one device, or on several under tensor parallelism."""

    name: str
    devices: tuple[str, ...]


class Lookups(Protocol):
    """What drafters that look their proposals up have found, before they propose."""

    def at(self, request: int, position: int) -> tuple[Sequence[int], Sequence[int]]:
        """Tokens matched and tokens on offer, by draft, after ``position`` output tokens."""
        ...

    def agreed(self, request: int, position: int, committed: int) -> Sequence[int]:
        """By draft: how many of the ``committed`` tokens from ``position`` on it had on offer, in a row."""
        ...


class World(Protocol):
    """Executes operations. Two implementations: predicted time and real time.

    ``env`` keeps an integer clock of nanoseconds since the run began. ``submit`` queues an
    operation on a lane (first in, first out) and returns an event that succeeds with
    :class:`~spinsim.operations.Completed`, or fails with the worker's exception.
    Submitted work is never withdrawn. ``settle`` submits an operation for who waits for its end, and for
    nothing else: where a world knows that nothing happens before, it lets that time come and returns the
    outcome itself. ``begin`` waits until devices have most likely begun what they were given, so that who
    thinks next does not keep them from it. ``release`` says that a request has ended and that no operation,
    in flight or to come, will name it.
    """

    @property
    def env(self) -> simpy.Environment: ...

    @property
    def lanes(self) -> Sequence[Lane]: ...

    def submit(self, lane: int, operation: Operation) -> simpy.Event: ...

    def settle(self, lane: int, operation: Operation) -> simpy.Event | Completed: ...

    def begin(self) -> None: ...

    def release(self, request: int) -> None: ...
