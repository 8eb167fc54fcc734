"""Lanes in predicted time: one queue on a device of its own, or two that slow each other down."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import simpy

from spinsim.engine.operations import Completed, Outcome


class ExclusiveLane:
    """A lane alone on its devices: when an operation ends is known when it is submitted."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.free_ns = 0

    def submit(self, now_ns: int, ready_ns: int, work_ns: int, outcome: Outcome) -> simpy.Event:
        """Queue ``work_ns`` of work that may begin at ``ready_ns``."""
        start = self.free_ns if self.free_ns > ready_ns else ready_ns
        self.free_ns = finish = start + work_ns
        return simpy.Timeout(self.env, finish - now_ns, Completed(outcome, start, finish))


class _Job:
    __slots__ = ("event", "outcome", "ready_ns", "remaining_ns", "started_ns")

    def __init__(self, event: simpy.Event, ready_ns: int, work_ns: int, outcome: Outcome) -> None:
        self.event = event
        self.ready_ns = ready_ns
        self.remaining_ns = float(work_ns)  # at full speed
        self.outcome = outcome
        self.started_ns = -1


class SharedLane:
    """A lane that shares a device: its work in flight is re-timed when a neighbour starts or ends.

    While a neighbour is busy, this lane's work takes ``slowdown`` times as long.
    """

    def __init__(self, env: simpy.Environment, slowdown: float) -> None:
        self.env = env
        self.slowdown = slowdown
        self.neighbours: Sequence[SharedLane] = ()
        self._queue: deque[_Job] = deque()
        self._running: _Job | None = None
        self._rate = 1.0
        self._updated_ns = 0
        self._alarm: simpy.Event | None = None  # the one that counts; earlier ones are stale

    def submit(self, now_ns: int, ready_ns: int, work_ns: int, outcome: Outcome) -> simpy.Event:
        """Queue ``work_ns`` of work that may begin at ``ready_ns``."""
        event = self.env.event()
        self._queue.append(_Job(event, ready_ns, work_ns, outcome))
        if self._running is None and len(self._queue) == 1:
            self._start_next()
        return event

    def _set_alarm(self, delay_ns: int, act: Callable[[], None]) -> None:
        alarm = self._alarm = self.env.timeout(delay_ns)

        def ring(_: simpy.Event) -> None:
            if alarm is self._alarm:
                act()

        assert alarm.callbacks is not None
        alarm.callbacks.append(ring)

    def _start_next(self) -> None:
        if not self._queue:
            return
        now = int(self.env.now)
        wait = self._queue[0].ready_ns - now
        if wait > 0:
            self._set_alarm(wait, self._start_next)
            return
        job = self._running = self._queue.popleft()
        job.started_ns = self._updated_ns = now
        self._rate = self._current_rate()
        self._set_alarm(self._time_left(job), self._end)
        for neighbour in self.neighbours:
            neighbour._retime()

    def _end(self) -> None:
        job = self._running
        assert job is not None
        now = int(self.env.now)
        self._running = None
        self._start_next()
        if self._running is None:
            for neighbour in self.neighbours:
                neighbour._retime()
        job.event.succeed(Completed(job.outcome, job.started_ns, now))

    def _retime(self) -> None:
        job = self._running
        if job is None:
            return
        rate = self._current_rate()
        if rate == self._rate:
            return
        now = int(self.env.now)
        job.remaining_ns -= (now - self._updated_ns) * self._rate
        self._updated_ns = now
        self._rate = rate
        self._set_alarm(self._time_left(job), self._end)

    def _current_rate(self) -> float:
        busy = any(neighbour._running is not None for neighbour in self.neighbours)
        return 1.0 / self.slowdown if busy else 1.0

    def _time_left(self, job: _Job) -> int:
        return max(0, round(job.remaining_ns / self._rate))
