"""Feeds a run's inputs through the engine again, and says where its decisions differ."""

from __future__ import annotations

from collections.abc import Sequence

import simpy

from spinsim.engine.inputs import TIMER, EmptySchedule, InputDrivenEnvironment, InputLog
from spinsim.engine.world import Lane
from spinsim.operations import Completed, Operation


class Diverged(RuntimeError):
    """The engine asked for something else than it did in the recorded run."""


class ReplayEnvironment(InputDrivenEnvironment):
    """Hands out recorded inputs in their order."""

    def __init__(self, log: InputLog) -> None:
        super().__init__()
        self.in_flight: dict[int, simpy.Event] = {}
        self.handled: tuple[int, ...] = ()  # the operation whose outcome is being handled
        self._log = log
        self._entry = 0

    def next_input(self, next_timer_ns: float) -> None:
        """Raises Diverged where the recorded input fits no timer or operation of this run."""
        number = self._entry
        if number == len(self._log):
            raise EmptySchedule
        self._entry += 1
        entry = self._log.inputs[number]
        if entry.kind == TIMER:
            if next_timer_ns != entry.time_ns:
                raise Diverged(
                    f"input {number}: a timer at {entry.time_ns} ns was due in the recorded run, "
                    + (f"now one at {next_timer_ns} ns" if next_timer_ns < float("inf") else "now none")
                )
            self.ring()
            return
        event = self.in_flight.pop(entry.operation, None)
        if event is None:
            raise Diverged(f"input {number}: operation {entry.operation} ended, which is not in flight now")
        self.handled = (entry.operation,)
        self.handle(event, entry.time_ns, entry.completed())


class ReplayWorld:
    """Implements :class:`spinsim.engine.world.World` from a log; nothing is computed."""

    def __init__(self, lanes: Sequence[Lane], log: InputLog) -> None:
        self.env: ReplayEnvironment = ReplayEnvironment(log)
        self.lanes = lanes
        self.operations: list[Operation] = []  # submitted, by number

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """The event that the recorded completion of the same operation will trigger."""
        event = self.env.event()
        self.env.in_flight[len(self.operations)] = event
        self.operations.append(operation)
        return event

    def settle(self, lane: int, operation: Operation) -> simpy.Event | Completed:
        """As :meth:`submit`: nobody knows when a device will be through."""
        return self.submit(lane, operation)

    def begin(self) -> None:
        """Nothing is executed."""

    def release(self, request: int) -> None:
        """Nothing is kept of a request."""
