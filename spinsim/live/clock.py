"""Real time for the engine's processes: timers on the wall clock, completions from the lanes."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import simpy

from spinsim.engine.inputs import EmptySchedule, InputDrivenEnvironment, InputLog
from spinsim.operations import Completed, Outcome

NONE = -1  # no operation


class Finished(NamedTuple):
    """What a worker reports. Exactly one of ``done`` and ``error`` is set.

    ``operation`` is :data:`NONE` where something failed that was not about any.
    """

    operation: int
    stamp_ns: int
    done: Completed | None
    error: BaseException | None


class LiveEnvironment(InputDrivenEnvironment):
    """Runs simpy processes in real time.

    Completions reach the engine's thread through one queue; a timer and a completion are handled
    in the order of their stamps. ``log`` records every input in the order handled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.completions: SimpleQueue[Finished] = SimpleQueue()
        self.log = InputLog()
        # Of each operation in flight: its event, and how its worker's result reads as an outcome.
        self.in_flight: dict[int, tuple[simpy.Event, Callable[[Any], Outcome]]] = {}
        self.waited_ns = 0  # wall time spent waiting for inputs
        self._pending: Finished | None = None
        self._zero_ns = time.perf_counter_ns()

    def start_clock(self) -> None:
        """The run begins now."""
        self._zero_ns = time.perf_counter_ns()

    def wall_ns(self) -> int:
        """Nanoseconds since the run began; workers stamp with it, policies never see it."""
        return time.perf_counter_ns() - self._zero_ns

    def next_input(self, next_timer_ns: float) -> None:
        """Wait for the next completion or timer and handle it."""
        finished = self._pending or self._wait(next_timer_ns)
        self._pending = None
        if finished is None:
            self.log.timer(int(next_timer_ns))
            self.ring()
            return
        if finished.stamp_ns > next_timer_ns:
            self._pending = finished
            self.log.timer(int(next_timer_ns))
            self.ring()
            return
        if finished.error is not None:
            raise finished.error
        event, interpret = self.in_flight.pop(finished.operation)
        assert finished.done is not None
        done = finished.done._replace(outcome=interpret(finished.done.outcome))
        self.handle(event, finished.stamp_ns, done)
        self.log.completion(int(self.now), finished.operation, done)

    def _wait(self, next_timer_ns: float) -> Finished | None:
        if next_timer_ns == float("inf"):
            if not self.in_flight:
                raise EmptySchedule
            timeout = None
        else:
            timeout = max(0.0, (next_timer_ns - self.wall_ns()) * 1e-9)
        began = time.perf_counter_ns()
        try:
            return self.completions.get(timeout=timeout)
        except Empty:
            return None
        finally:
            self.waited_ns += time.perf_counter_ns() - began
