"""Lanes in predicted time: one queue on a device of its own, or several that slow each other down."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property

import simpy

from spinsim.costs.contention import Demand, Law
from spinsim.operations import Completed, Outcome


class ExclusiveLane:
    """A lane alone on its devices: when an operation ends is known when it is submitted."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.free_ns = 0

    def begins(self, now_ns: int, ready_ns: int) -> int:
        """When work begins that is submitted now; it takes as long as it takes alone."""
        return self.free_ns if self.free_ns > ready_ns else ready_ns

    def worked_until(self, end_ns: int) -> None:
        """Such work is done already, without :meth:`submit`."""
        self.free_ns = end_ns

    def submit(
        self, now_ns: int, ready_ns: int, work_ns: int, outcome: Outcome, demand: Callable[[], Demand]
    ) -> simpy.Event:
        """Queue ``work_ns`` of work that may begin at ``ready_ns``; there is no one to contend with."""
        start = self.free_ns if self.free_ns > ready_ns else ready_ns
        self.free_ns = finish = start + work_ns
        return simpy.Timeout(self.env, finish - now_ns, Completed(outcome, start, finish))


class _Job:
    __slots__ = ("_demand", "_demanded", "event", "outcome", "ready_ns", "remaining_ns", "started_ns")

    def __init__(
        self, event: simpy.Event, ready_ns: int, work_ns: int, outcome: Outcome, demand: Callable[[], Demand]
    ) -> None:
        self.event = event
        self.ready_ns = ready_ns
        self.remaining_ns = float(work_ns)  # at full speed
        self.outcome = outcome
        self._demand = demand
        self._demanded: Demand | None = None
        self.started_ns = -1

    @property
    def demand(self) -> Demand:
        """Worked out where somebody notices."""
        if self._demanded is None:
            self._demanded = self._demand()
        return self._demanded


class SharedDevice:
    """What lanes share: how much longer the work that they have in flight takes there."""

    def __init__(self, law: Law) -> None:
        self.lanes: list[SharedLane] = []
        self._law = law
        self._slow: dict[SharedLane, float] | None = None

    def changed(self) -> None:
        """Work began or ended on one of the lanes."""
        self._slow = None

    def slowdown(self, lane: SharedLane) -> float:
        """The factor on the time of what ``lane`` runs now."""
        if self._slow is None:
            running = [(other, job) for other in self.lanes if (job := other.running) is not None]
            if len(running) == 1:
                return 1.0
            busy = [(other, job.demand) for other, job in running]
            slow = self._law.slowdowns([demand for _, demand in busy])
            self._slow = {other: factor for (other, _), factor in zip(busy, slow, strict=True)}
        return self._slow[lane]


class SharedLane:
    """A lane that shares devices: its work in flight is re-timed when a neighbour starts or ends.

    Beside busy neighbours, work takes as many times as long as the law says of the slowest of its devices.
    While the neighbours have nothing to do, the next job's start is settled ahead of its time, which saves
    waking up for it: so the neighbours of a job that is settled and has not begun never have work.
    """

    def __init__(self, env: simpy.Environment, devices: Sequence[SharedDevice]) -> None:
        self.env = env
        self.running: _Job | None = None  # or settled to start at its ``started_ns``
        self._devices = devices
        self._queue: deque[_Job] = deque()
        self._rate = 1.0
        self._updated_ns = 0
        self._alarm: simpy.Event | None = None  # the one that counts; earlier ones are stale

    @cached_property
    def neighbours(self) -> list[SharedLane]:
        """The other lanes of its devices; asked for once all are made."""
        found = dict.fromkeys(lane for device in self._devices for lane in device.lanes)
        return [lane for lane in found if lane is not self]

    def begins(self, now_ns: int, ready_ns: int) -> int:
        """When work begins that is submitted now; it takes as long as alone unless something happens before.

        -1 where this lane or a neighbour has work already.
        """
        if self.running is not None or self._queue:
            return -1
        for neighbour in self.neighbours:
            if neighbour.running is not None or neighbour._queue:
                return -1
        return ready_ns if ready_ns > now_ns else now_ns

    def worked_until(self, end_ns: int) -> None:
        """Such work is done already, without :meth:`submit`: it leaves nothing behind."""

    def submit(
        self, now_ns: int, ready_ns: int, work_ns: int, outcome: Outcome, demand: Callable[[], Demand]
    ) -> simpy.Event:
        """Queue ``work_ns`` of work, as long as it takes alone, that may begin at ``ready_ns``."""
        event = simpy.Event(self.env)
        self._queue.append(_Job(event, ready_ns, work_ns, outcome, demand))
        for neighbour in self.neighbours:
            neighbour._unsettle(now_ns)
        if self.running is None and len(self._queue) == 1:
            self._start_next(now_ns)
        return event

    def _start_next(self, now_ns: int) -> None:
        if not self._queue:
            return
        start_ns = self._queue[0].ready_ns
        if start_ns <= now_ns:
            start_ns = now_ns
        elif any(neighbour.running or neighbour._queue for neighbour in self.neighbours):
            self._set_alarm(start_ns - now_ns, self._ring_start)
            return
        job = self._queue.popleft()
        self._run(job)
        job.started_ns = self._updated_ns = start_ns
        self._rate = self._rate_now()
        self._set_alarm(start_ns - now_ns + self._time_left(job), self._ring_end)
        for neighbour in self.neighbours:
            neighbour._retime(start_ns)

    def _unsettle(self, now_ns: int) -> None:
        """Work comes to a neighbour: a job that has not begun waits for its start after all."""
        job = self.running
        if job is not None and job.started_ns > now_ns:
            self._run(None)
            self._queue.appendleft(job)
            self._set_alarm(job.ready_ns - now_ns, self._ring_start)

    def _end(self, now_ns: int) -> None:
        job = self.running
        assert job is not None
        self._run(None)
        self._start_next(now_ns)
        if self.running is None:
            for neighbour in self.neighbours:
                neighbour._retime(now_ns)
        job.event.succeed(Completed(job.outcome, job.started_ns, now_ns))

    def _run(self, job: _Job | None) -> None:
        self.running = job
        for device in self._devices:
            device.changed()

    def _retime(self, now_ns: int) -> None:
        job = self.running
        if job is None:
            return
        rate = self._rate_now()
        if rate == self._rate:
            return
        job.remaining_ns -= (now_ns - self._updated_ns) * self._rate
        self._updated_ns = now_ns
        self._rate = rate
        self._set_alarm(self._time_left(job), self._ring_end)

    def _rate_now(self) -> float:
        return 1.0 / max(device.slowdown(self) for device in self._devices)

    def _time_left(self, job: _Job) -> int:
        return max(0, round(job.remaining_ns / self._rate))

    def _set_alarm(self, delay_ns: int, ring: Callable[[simpy.Event], None]) -> None:
        alarm = self._alarm = simpy.Timeout(self.env, delay_ns)
        assert alarm.callbacks is not None
        alarm.callbacks.append(ring)

    def _ring_start(self, alarm: simpy.Event) -> None:
        if alarm is self._alarm:
            self._start_next(int(self.env.now))

    def _ring_end(self, alarm: simpy.Event) -> None:
        if alarm is self._alarm:
            self._end(int(self.env.now))
