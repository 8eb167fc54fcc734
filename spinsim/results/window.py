"""Over which part of a run metrics are taken: between the warm-up and the last arrival."""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.engine.columns import blocks
from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.results.columns import Bools, Ints

OPEN, CLOSED, WHOLE = "warmup_to_last_arrival", "warmup_to_last_send", "whole_run"


@dataclass(frozen=True, slots=True)
class Window:
    """``start_ns`` and ``end_ns`` both belong to the window. ``rule`` names it, ``note`` explains."""

    start_ns: int
    end_ns: int
    rule: str
    note: str

    def holds(self, moments_ns: Ints) -> Bools:
        """Which moments lie within."""
        return (moments_ns >= self.start_ns) & (moments_ns <= self.end_ns)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_ns - self.start_ns) / NS


def window_of(records: Records, warmup_s: float) -> Window:
    """The window of a run.

    An open loop is measured while it is offered load. A closed loop is measured until its last
    request was sent, so while every client is busy, and says so: its rate follows from the
    system's speed. Where nothing was committed between the two (all at once, or a run so short that it
    ended its arrivals before its first token) the whole run counts, from the warm-up on where
    that leaves any of it.
    """
    start = round(warmup_s * NS)
    ended = max(records.ended_ns, 0)
    last = min(records.last_arrival_ns, ended)
    if start < last and _commits_between(records, start, last):
        if records.closed_loop:
            return Window(
                start, last, CLOSED, "closed loop: while every client is busy, to the last request sent"
            )
        return Window(start, last, OPEN, "open loop: from the warm-up to the last arrival")
    if last <= 0:
        why = "all requests were there at once"
    elif start >= last:
        why = "the warm-up reaches past the last arrival"
    else:
        why = "no token was committed before the last arrival"
    if start < ended and _commits_between(records, start, ended):
        return Window(start, ended, WHOLE, f"{why}: from the warm-up to the end of the run")
    if start > 0:
        why += ", and nothing was committed after the warm-up"
    return Window(0, ended, WHOLE, f"{why}: the whole run")


def _commits_between(records: Records, start_ns: int, end_ns: int) -> bool:
    """Was a token committed in [start, end]?"""
    committed = records.rounds.committed_ns
    for part in blocks(len(committed)):
        moments = committed[part]
        if bool(((moments >= start_ns) & (moments <= end_ns)).any()):
            return True
    return any(start_ns <= r.first_token_ns <= end_ns for r in records.requests.values())
