"""Inputs from outside: an environment whose clock they drive, and the log that replays them.

A run is a function of its inputs: completions of operations, and timers coming due. ``now`` is
the time stamp of the input being handled, never a reading of the wall clock, so that feeding the
same inputs in the same order reproduces every decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import simpy
from simpy.core import EmptySchedule

from spinsim.operations import (
    CatchUpOutcome,
    Completed,
    Outcome,
    PrefillOutcome,
    ProposeOutcome,
    VerifyOutcome,
)

TIMER, COMPLETION = 0, 1


@dataclass(slots=True)
class InputLog:
    """Inputs in the order in which they were handled; parallel columns.

    ``operation`` is -1 for a timer. ``numbers`` and ``ended`` hold what an outcome said: accepted counts, the
    lengths of a proposal where it says them, or the hits of a catch-up (a 0/1 list a row in ``hits``), and
    end-of-text marks.
    """

    kind: list[int] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    operation: list[int] = field(default_factory=list)
    started_ns: list[int] = field(default_factory=list)
    finished_ns: list[int] = field(default_factory=list)
    outcome: list[str] = field(default_factory=list)  # "", "prefill", "catch_up", "propose" or "verify"
    accepted: list[list[int]] = field(default_factory=list)
    ended: list[list[int]] = field(default_factory=list)
    hits: list[list[bytes]] = field(default_factory=list)

    def timer(self, time_ns: int) -> None:
        """A timer came due."""
        self._append(TIMER, time_ns, -1, time_ns, time_ns, "", [], [], [])

    def completion(self, time_ns: int, operation: int, done: Completed) -> None:
        """An operation's outcome was handled at ``time_ns``."""
        outcome = done.outcome
        name, accepted, ended, hits = "", list[int](), list[int](), list[bytes]()
        if isinstance(outcome, VerifyOutcome):
            name, accepted, ended = "verify", outcome.accepted, outcome.ended
        elif isinstance(outcome, ProposeOutcome):
            name, accepted = "propose", outcome.lengths
        elif isinstance(outcome, PrefillOutcome):
            name, ended = "prefill", [int(flag) for flag in outcome.ended]
        elif isinstance(outcome, CatchUpOutcome):
            name, hits = "catch_up", outcome.hits
        self._append(
            COMPLETION, time_ns, operation, done.started_ns, done.finished_ns, name, accepted, ended, hits
        )

    def _append(
        self,
        kind: int,
        time_ns: int,
        operation: int,
        started_ns: int,
        finished_ns: int,
        outcome: str,
        accepted: list[int],
        ended: list[int],
        hits: list[bytes],
    ) -> None:
        self.kind.append(kind)
        self.time_ns.append(time_ns)
        self.operation.append(operation)
        self.started_ns.append(started_ns)
        self.finished_ns.append(finished_ns)
        self.outcome.append(outcome)
        self.accepted.append(accepted)
        self.ended.append(ended)
        self.hits.append(hits)

    def completed(self, entry: int) -> Completed:
        """The completion that an entry recorded."""
        outcome: Outcome = None
        match self.outcome[entry]:
            case "verify":
                outcome = VerifyOutcome(self.accepted[entry], self.ended[entry])
            case "propose":
                outcome = ProposeOutcome(self.accepted[entry])
            case "prefill":
                outcome = PrefillOutcome([bool(flag) for flag in self.ended[entry]])
            case "catch_up":
                outcome = CatchUpOutcome(self.hits[entry])
        return Completed(outcome, self.started_ns[entry], self.finished_ns[entry])


class InputDrivenEnvironment(simpy.Environment):
    """A simpy environment that handles what is due now, and otherwise waits for an input.

    Subclasses implement :meth:`next_input`. The clock counts integer nanoseconds.
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)

    def step(self) -> None:
        """Process the next event that is due, or take the next input."""
        if self.peek() <= self._now:
            super().step()
        else:
            self.next_input(self.peek())

    def next_input(self, next_timer_ns: float) -> None:
        """Handle one input: :meth:`ring` the timer at ``next_timer_ns``, or :meth:`handle` a completion."""
        raise NotImplementedError

    def ring(self) -> None:
        """Let the next timer come due: its time stamp becomes ``now``."""
        super().step()

    def handle(self, event: simpy.Event, stamp_ns: int, done: Completed) -> None:
        """Succeed an operation's event; ``now`` becomes its stamp, but never runs backwards."""
        self._now = max(self._now, stamp_ns)
        event.succeed(done)


__all__ = ["COMPLETION", "TIMER", "EmptySchedule", "InputDrivenEnvironment", "InputLog"]
