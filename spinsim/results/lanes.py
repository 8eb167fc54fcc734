"""How busy lanes and devices were, from the operations on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from spinsim.engine.columns import blocks
from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.columns import Ints
from spinsim.results.window import Window


class Union:
    """The length of the union of intervals that come in blocks, in nanoseconds."""

    def __init__(self) -> None:
        self.length = 0
        self._reached = np.iinfo(np.int64).min
        self._starts: Ints = np.empty(0, dtype=np.int64)
        self._ends = self._starts

    def add(self, starts: Ints, ends: Ints, until: int) -> None:
        """Intervals [starts[i], ends[i]]; none that comes later starts before ``until``."""
        starts, ends = np.concatenate((self._starts, starts)), np.concatenate((self._ends, ends))
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        ready = int(np.searchsorted(starts, until, side="left"))
        self._starts, self._ends = starts[ready:], ends[ready:]
        starts, ends = starts[:ready], ends[:ready]
        if starts.size:
            reached = np.maximum.accumulate(np.maximum(ends, self._reached))
            uncovered = np.maximum(starts, np.concatenate(([self._reached], reached[:-1])))
            self.length += int(np.maximum(ends - uncovered, 0).sum())
            self._reached = int(reached[-1])


FOREVER = np.iinfo(np.int64).max


class Worked(NamedTuple):
    """Completed operations of a block that overlap the window, cut to it. None that comes later starts before
    ``until``."""

    lane: Ints
    kind: Ints
    start: Ints
    end: Ints
    until: int


def _worked(records: Records, window: Window) -> Iterator[Worked]:
    operations = records.operations
    count = len(operations.lane)
    for part in blocks(count):
        start, end = operations.started_ns[part], operations.finished_ns[part]
        index = np.flatnonzero((start >= 0) & (end > window.start_ns) & (start < window.end_ns))
        yield Worked(
            operations.lane[part][index],
            operations.kind[part][index],
            np.maximum(start[index], window.start_ns),
            np.minimum(end[index], window.end_ns),
            operations.submitted_ns[part.stop] if part.stop < count else FOREVER,
        )


def device_busy(records: Records, window: Window) -> dict[str, Any]:
    """By device: seconds in which at least one of its lanes worked, and their share of the window."""
    devices = dict.fromkeys(d for _, devices in records.lanes for d in devices)
    lanes = {d: [i for i, (_, devices) in enumerate(records.lanes) if d in devices] for d in devices}
    unions = {device: Union() for device in devices}
    for part in _worked(records, window):
        for device, union in unions.items():
            chosen = np.isin(part.lane, lanes[device])
            union.add(part.start[chosen], part.end[chosen], part.until)
    out: dict[str, Any] = {}
    for device, union in unions.items():
        busy = union.length / NS
        out[device] = {"busy_s": busy, "busy_fraction": busy / window.seconds if window.seconds > 0 else 0.0}
    return out


def lane_busy(records: Records, window: Window) -> dict[str, Any]:
    """By lane: its devices, and busy seconds by kind of operation."""
    counts = np.zeros(len(records.lanes), dtype=np.int64)
    spent = np.zeros((len(records.lanes), len(KINDS)))
    for part in _worked(records, window):
        counts += np.bincount(part.lane, minlength=counts.size)
        seconds = (part.end - part.start) / NS
        np.add.at(spent, (part.lane, part.kind), seconds)  # one after the other, whatever the blocks are
    out: dict[str, Any] = {}
    for (name, devices), count, busy in zip(records.lanes, counts.tolist(), spent, strict=True):
        out[name] = {
            "devices": list(devices),
            "operations": count,
            "busy_fraction": float(busy.sum()) / window.seconds if window.seconds > 0 else 0.0,
            "busy_s": {k: float(s) for k, s in zip(KINDS, busy, strict=True)},
        }
    return out
