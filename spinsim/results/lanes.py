"""How busy lanes and devices were, from the operations on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.columns import Ints, view
from spinsim.results.window import Window


def union_ns(starts: Ints, ends: Ints) -> int:
    """Total length of the union of intervals [starts[i], ends[i]]."""
    if not starts.size:
        return 0
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    reached = np.maximum.accumulate(ends)
    uncovered = np.maximum(starts, np.concatenate((starts[:1], reached[:-1])))
    return int(np.maximum(ends - uncovered, 0).sum())


def _clipped(records: Records, window: Window) -> tuple[Ints, Ints, Ints]:
    """Index, start and end of completed operations that overlap the window, cut to it."""
    start, end = view(records.operations.started_ns), view(records.operations.finished_ns)
    index = np.flatnonzero((start >= 0) & (end > window.start_ns) & (start < window.end_ns))
    return index, np.maximum(start[index], window.start_ns), np.minimum(end[index], window.end_ns)


def device_busy(records: Records, window: Window) -> dict[str, Any]:
    """By device: seconds in which at least one of its lanes worked, and their share of the window."""
    index, start, end = _clipped(records, window)
    lane = view(records.operations.lane)[index]
    out: dict[str, Any] = {}
    for device in dict.fromkeys(d for _, devices in records.lanes for d in devices):
        mine = [i for i, (_, devices) in enumerate(records.lanes) if device in devices]
        chosen = np.isin(lane, mine)
        busy = union_ns(start[chosen], end[chosen]) / NS
        out[device] = {"busy_s": busy, "busy_fraction": busy / window.seconds if window.seconds > 0 else 0.0}
    return out


def lane_busy(records: Records, window: Window) -> dict[str, Any]:
    """By lane: its devices, and busy seconds by kind of operation."""
    index, start, end = _clipped(records, window)
    lane, kind = view(records.operations.lane)[index], view(records.operations.kind)[index]
    spent = (end - start) / NS
    out: dict[str, Any] = {}
    for i, (name, devices) in enumerate(records.lanes):
        chosen = lane == i
        busy = np.bincount(kind[chosen], weights=spent[chosen], minlength=len(KINDS))
        out[name] = {
            "devices": list(devices),
            "operations": int(chosen.sum()),
            "busy_fraction": float(busy.sum()) / window.seconds if window.seconds > 0 else 0.0,
            "busy_s": {k: float(s) for k, s in zip(KINDS, busy, strict=True)},
        }
    return out
