"""Inputs from outside: an environment whose clock they drive, and the log that replays them.

A run is a function of its inputs: completions of operations, and timers coming due. ``now`` is
the time stamp of the input being handled, never a reading of the wall clock, so that feeding the
same inputs in the same order reproduces every decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

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


class Input(NamedTuple):
    """One input as it was handled: a timer that came due, or an operation's completion.

    An outcome is kept as three lists. ``accepted``: of a verification the accepted counts, of a proposal its
    lengths where it says them. ``ended``: marks of the end of text. ``hits``: of a catch-up, 0 or 1 a token.
    """

    kind: int  # TIMER or COMPLETION
    time_ns: int  # what ``now`` became
    operation: int  # in order of submission; -1 of a timer
    started_ns: int
    finished_ns: int
    outcome: str  # "", "prefill", "catch_up", "propose" or "verify"
    accepted: list[int]
    ended: list[int]
    hits: list[bytes]

    @classmethod
    def of_timer(cls, time_ns: int) -> Input:
        """A timer came due."""
        return cls(TIMER, time_ns, -1, time_ns, time_ns, "", [], [], [])

    @classmethod
    def of_completion(cls, time_ns: int, operation: int, done: Completed) -> Input:
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
        ran = done.started_ns, done.finished_ns
        return cls(COMPLETION, time_ns, operation, *ran, name, accepted, ended, hits)

    def completed(self) -> Completed:
        """The completion that was recorded."""
        outcome: Outcome = None
        match self.outcome:
            case "verify":
                outcome = VerifyOutcome(self.accepted, self.ended)
            case "propose":
                outcome = ProposeOutcome(self.accepted)
            case "prefill":
                outcome = PrefillOutcome([bool(flag) for flag in self.ended])
            case "catch_up":
                outcome = CatchUpOutcome(self.hits)
        return Completed(outcome, self.started_ns, self.finished_ns)


@dataclass(slots=True)
class InputLog:
    """Inputs in the order in which they were handled."""

    inputs: list[Input] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs)

    def timer(self, time_ns: int) -> None:
        """A timer came due."""
        self.inputs.append(Input.of_timer(time_ns))

    def completion(self, time_ns: int, operation: int, done: Completed) -> None:
        """An operation's outcome was handled at ``time_ns``."""
        self.inputs.append(Input.of_completion(time_ns, operation, done))

    def columns(self) -> dict[str, list[Any]]:
        """The inputs by field of :class:`Input`."""
        columns = map(list, zip(*self.inputs, strict=True)) if self.inputs else ([] for _ in Input._fields)
        return dict(zip(Input._fields, columns, strict=True))


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


__all__ = ["COMPLETION", "TIMER", "EmptySchedule", "Input", "InputDrivenEnvironment", "InputLog"]
