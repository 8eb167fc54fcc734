"""timeline.json: the run in Chrome's trace event format, which ui.perfetto.dev opens.

One process of tracks for the lanes, one for the micro-batches, and one of counters: requests admitted,
requests waiting by the reason of the next, and K/V tokens held of the target. Arrows run from the proposals
to the verification that checked them. Times in the file are microseconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.engine.records import KINDS, REASONS, Records
from spinsim.results.columns import view

CAP = 20_000  # operations
LANES, MICRO_BATCHES, LOAD = 1, 2, 3
Event = dict[str, Any]


def write_timeline(path: Path, records: Records, *, cap: int | None = CAP) -> None:
    """Write the first ``cap`` operations that started (all of them when None) and the rounds beside them."""
    document = timeline(records, cap=cap)
    with path.open("w", encoding="utf-8") as file:
        head, tail = {k: v for k, v in document.items() if k != "traceEvents"}, document["traceEvents"]
        file.write(json.dumps(head, separators=(",", ":"))[:-1])
        file.write(',"traceEvents":[\n')
        encode = json.JSONEncoder(separators=(",", ":")).encode  # one encoder: json.dumps makes one a call
        file.write(",\n".join(map(encode, tail)))
        file.write("\n]}\n")


def timeline(records: Records, *, cap: int | None = CAP) -> dict[str, Any]:
    """The trace as a document: metadata events first, then events in order of time."""
    started = view(records.operations.started_ns)
    done = np.flatnonzero(view(records.operations.finished_ns) >= 0)
    ids = done[np.argsort(started[done], kind="stable")]
    shown = ids if cap is None else ids[:cap]
    until_ns = records.ended_ns if shown.size == ids.size else int(started[shown[-1]])
    events = _operation_events(records, [int(i) for i in shown])
    events += _round_events(records, until_ns)
    events += _load_events(records, until_ns)
    events.sort(key=lambda event: (event["ts"], event["pid"], event["tid"], -event.get("dur", 0.0)))
    return {
        "displayTimeUnit": "ms",
        "otherData": {
            "operations": int(ids.size),
            "operations_shown": int(shown.size),
            "until_s": until_ns / 1e9,
            "complete": bool(shown.size == ids.size),
        },
        "traceEvents": _track_names(records) + events,
    }


def _us(ns: int) -> float:
    return round(ns / 1e3, 3)


def _track_names(records: Records) -> list[Event]:
    micro_batches = sorted({*records.rounds.micro_batch, *records.operations.micro_batch} - {-1})
    tracks = [(LANES, i, f"{name} [{', '.join(devices)}]") for i, (name, devices) in enumerate(records.lanes)]
    tracks += [(MICRO_BATCHES, m, f"micro-batch {m}") for m in micro_batches]
    events: list[Event] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        for pid, name in ((LANES, "lanes"), (MICRO_BATCHES, "micro-batches"), (LOAD, "load"))
    ]
    for pid, tid, name in tracks:
        events.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}})
        events.append(
            {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
        )
    return events


def _operation_events(records: Records, ids: list[int]) -> list[Event]:
    """A slice per operation; flows join a round's proposals to its verification."""
    o = records.operations
    events: list[Event] = []
    proposals: dict[int, list[int]] = {}
    for i in ids:
        kind, start, end, lane = KINDS[o.kind[i]], o.started_ns[i], o.finished_ns[i], o.lane[i]
        batch, rows, tokens = o.micro_batch[i], o.rows[i], o.tokens[i]
        draft = records.drafts[o.model[i]] if o.model[i] >= 0 else ""
        name = {
            "prefill": f"prefill {tokens}",
            "catch_up": f"catch-up {draft} {tokens}",
            "propose": f"{draft} {rows}x{tokens}",
            "verify": f"verify {rows}",
        }[kind]
        args: Event = {"operation": i, "rows": rows, "tokens": tokens}
        args["queued_us"] = _us(start - o.submitted_ns[i])
        if draft:
            args["draft"] = draft
        if batch >= 0:
            args["micro_batch"] = batch
        track = {"pid": LANES, "tid": lane}
        events.append(
            {
                "ph": "X",
                "name": name,
                "cat": kind,
                "ts": _us(start),
                "dur": _us(end - start),
                **track,
                "args": args,
            }
        )
        if kind == "propose":
            proposals.setdefault(batch, []).append(i)
        elif kind == "verify":
            for j in proposals.pop(batch, ()):
                flow = {"name": "proposal", "cat": "proposal", "id": j}
                events.append({"ph": "s", **flow, "ts": _us(o.started_ns[j]), "pid": LANES, "tid": o.lane[j]})
                events.append({"ph": "f", "bp": "e", **flow, "ts": _us(start), **track})
    return events


def _round_events(records: Records, until_ns: int) -> list[Event]:
    """A slice per micro-batch round, and within it drafting, waiting for the target, and verification."""
    r = records.rounds
    events: list[Event] = []
    columns = (r.assigned_ns, r.drafted_ns, r.verify_started_ns, r.committed_ns)
    whole_rounds = np.logical_and.reduce([view(column) >= 0 for column in columns])
    for i in np.flatnonzero(whole_rounds & (view(r.assigned_ns) <= until_ns)).tolist():
        marks = (r.assigned_ns[i], r.drafted_ns[i], r.verify_started_ns[i], r.committed_ns[i])
        track = {"pid": MICRO_BATCHES, "tid": r.micro_batch[i]}
        args = {
            "round": i,
            "requests": r.size[i],
            "depth": r.depth[i],
            "packing": r.packing[i],
            "rows": r.rows[i],
            "kv_tokens": r.kv_tokens[i],
            "real_kv_tokens": r.real_kv_tokens[i],
        }
        whole = {"name": f"round of {r.size[i]}", "cat": "round", "args": args}
        parts: list[Event] = [{"name": name, "cat": "part"} for name in ("draft", "wait", "verify")]
        spans = [(whole, marks[0], marks[3]), *zip(parts, marks[:-1], marks[1:], strict=True)]
        for event, start, end in spans:
            if end > start:
                events.append({"ph": "X", **event, "ts": _us(start), "dur": _us(end - start), **track})
    return events


def _load_events(records: Records, until_ns: int) -> list[Event]:
    """Counters, at every change of one of them."""
    load = records.load
    events: list[Event] = []
    last: dict[str, dict[str, int]] = {}
    for at, admitted, waiting, reason, kv in zip(
        load.at_ns, load.admitted, load.waiting, load.reason, load.kv_tokens, strict=True
    ):
        if at > until_ns:
            break
        counted = {
            "admitted": {"requests": admitted},
            "waiting": {why: waiting * (i == reason) for i, why in enumerate(REASONS) if why},
            "K/V of the target": {"tokens": kv},
        }
        for name, args in counted.items():
            if last.get(name) != args:
                events.append({"ph": "C", "name": name, "ts": _us(at), "pid": LOAD, "tid": 0, "args": args})
                last[name] = args
    return events
