"""Time that moves on without an event, where nobody could tell the difference.

simpy handles what is due in the order (time, priority, number), and numbers grow. Who submits an operation
and waits for nothing else gets an event for its end. If everything in the queue is due later than that end,
this event would be handled next, and nothing changes until then: no request comes, no other operation ends,
no lane's pace changes. So the clock may be set to the end at once. What is due at the very same time was
numbered earlier and goes first; then an event is needed.
"""

from __future__ import annotations

import simpy


class SteppingEnvironment(simpy.Environment):
    """A clock of integer nanoseconds that may be set where nothing is due before."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)

    def step_to(self, time_ns: int) -> bool:
        """Set the clock to ``time_ns``, unless anything is due before or then. Was it set?"""
        queue = self._queue
        if queue and queue[0][0] <= time_ns:
            return False
        self._now = time_ns
        return True
