"""timeline.json: the run in Chrome's trace event format, which ui.perfetto.dev opens.

One process of tracks for the lanes, one for the micro-batches, and one of counters: requests admitted,
requests waiting by the reason of the next, and K/V tokens held of the target. Arrows run from the proposals
to the verification that checked them. Times in the file are microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.columns import blocks
from spinsim.engine.records import KINDS, REASONS, Records
from spinsim.results.blocks import finished_in_order, gathered

CAP = 20_000  # operations
LANES, MICRO_BATCHES, LOAD = 1, 2, 3
# Its place in the file (microseconds, process, track, the longest first), and its JSON. A run has a hundred
# thousand: text is written at once, for dicts and their encoding take four times as long.
Event = tuple[float, int, int, float, str]


def write_timeline(path: Path, records: Records, *, cap: int | None = CAP) -> None:
    """Write the first ``cap`` operations that started (all of them when None) and the rounds beside them."""
    path.write_text(_text(records, cap), encoding="utf-8")


def timeline(records: Records, *, cap: int | None = CAP) -> dict[str, Any]:
    """The trace as a document: metadata events first, then events in order of time."""
    document: dict[str, Any] = json.loads(_text(records, cap))
    return document


def _text(records: Records, cap: int | None) -> str:
    operations = records.operations
    completed = sum(int((operations.finished_ns[part] >= 0).sum()) for part in blocks(len(operations.lane)))
    shown = _first(finished_in_order(operations, operations.started_ns), completed if cap is None else cap)
    complete = bool(shown.size == completed)
    until_ns = records.ended_ns if complete else operations.started_ns[int(shown[-1])]
    events = [*_operation_events(records, shown), *_round_events(records, until_ns)]
    events += _load_events(records, until_ns)
    events.sort(key=itemgetter(0, 1, 2, 3))
    head = {
        "displayTimeUnit": "ms",
        "otherData": {
            "operations": completed,
            "operations_shown": int(shown.size),
            "until_s": until_ns / 1e9,
            "complete": complete,
        },
    }
    lines = ",\n".join([*map(_json, _track_names(records)), *(event[4] for event in events)])
    return f'{_json(head)[:-1]},"traceEvents":[\n{lines}\n]}}\n'


def _first(parts: Iterable[NDArray[Any]], count: int) -> NDArray[Any]:
    """The first ``count`` entries of what comes in parts."""
    found: list[NDArray[Any]] = [np.empty(0, dtype=np.int64)]
    for part in parts:
        found.append(part)
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)[:count]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _us(ns: int) -> float:
    """Printed, it has at most three decimals: division gives the float nearest to them."""
    return ns / 1e3


def _track_names(records: Records) -> list[dict[str, Any]]:
    columns = records.rounds.micro_batch, records.operations.micro_batch
    seen = {m for c in columns for part in blocks(len(c)) for m in np.flatnonzero(np.bincount(c[part] + 1))}
    micro_batches = [int(m) - 1 for m in sorted(seen) if m]  # prefill is of none, -1
    tracks = [(LANES, i, f"{name} [{', '.join(devices)}]") for i, (name, devices) in enumerate(records.lanes)]
    tracks += [(MICRO_BATCHES, m, f"micro-batch {m}") for m in micro_batches]
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": name}}
        for pid, name in ((LANES, "lanes"), (MICRO_BATCHES, "micro-batches"), (LOAD, "load"))
    ]
    for pid, tid, name in tracks:
        events.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}})
        events.append(
            {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
        )
    return events


def _operation_events(records: Records, shown: NDArray[Any]) -> Iterator[Event]:
    """A slice per operation; flows join a round's proposals to its verification."""
    quoted_drafts = [_json(name) for name in records.drafts]
    columns = (gathered(column, shown).tolist() for column in records.operations.columns)
    proposals: dict[int, list[tuple[int, float, int]]] = {}
    for i, lane, number, model, batch, rows, tokens, submitted, start_ns, end_ns in zip(
        shown.tolist(), *columns, strict=True
    ):
        kind, start = KINDS[number], _us(start_ns)
        took, track = _us(end_ns - start_ns), f'"pid":{LANES},"tid":{lane}'
        name, args = f"verify {rows}", ""
        if model >= 0:
            quoted = quoted_drafts[model]
            draft = quoted[1:-1]
            name = f"catch-up {draft} {tokens}" if kind == "catch_up" else f"{draft} {rows}x{tokens}"
            args = f',"draft":{quoted}'
        elif kind == "prefill":
            name = f"prefill {tokens}"
        if batch >= 0:
            args += f',"micro_batch":{batch}'
        queued = _us(start_ns - submitted)
        yield (start, LANES, lane, -took, (
            f'{{"ph":"X","name":"{name}","cat":"{kind}","ts":{start},"dur":{took},{track},"args":'
            f'{{"operation":{i},"rows":{rows},"tokens":{tokens},"queued_us":{queued}{args}}}}}'
        ))  # fmt: skip
        if kind == "propose":
            proposals.setdefault(batch, []).append((i, start, lane))
        elif kind == "verify":
            for j, began, its_lane in proposals.pop(batch, ()):
                flow = f'"name":"proposal","cat":"proposal","id":{j}'
                out = f'{{"ph":"s",{flow},"ts":{began},"pid":{LANES},"tid":{its_lane}}}'
                yield began, LANES, its_lane, 0.0, out
                yield start, LANES, lane, 0.0, f'{{"ph":"f","bp":"e",{flow},"ts":{start},{track}}}'


def _round_events(records: Records, until_ns: int) -> Iterator[Event]:
    """A slice per micro-batch round, and within it drafting, waiting for the target, and verification."""
    for part in blocks(len(records.rounds.size)):
        yield from _rounds_of(records, part, until_ns)


def _rounds_of(records: Records, part: slice, until_ns: int) -> Iterator[Event]:
    r = records.rounds
    times = [column[part] for column in (r.assigned_ns, r.drafted_ns, r.verify_started_ns, r.committed_ns)]
    whole = np.logical_and.reduce([column >= 0 for column in times])
    shown = np.flatnonzero(whole & (times[0] <= until_ns))
    headers = (r.micro_batch, r.size, r.depth, r.rows, r.kv_tokens, r.real_kv_tokens, r.packing.codes)
    marks = [column[shown].tolist() for column in times]
    columns = [column[part][shown].tolist() for column in headers]
    packings = [_json(name) for name in r.packing.labels]
    for i, batch, size, depth, rows, kv, real_kv, packing, *moments in zip(
        (part.start + shown).tolist(), *columns, *marks, strict=True
    ):
        track = f'"pid":{MICRO_BATCHES},"tid":{batch}'
        args = (
            f'{{"round":{i},"requests":{size},"depth":{depth},"packing":{packings[packing]},'
            f'"rows":{rows},"kv_tokens":{kv},"real_kv_tokens":{real_kv}}}'
        )
        said = f'"name":"round of {size}","cat":"round","args":{args}'
        parts = [f'"name":"{name}","cat":"part"' for name in ("draft", "wait", "verify")]
        spans = [(said, moments[0], moments[3]), *zip(parts, moments[:-1], moments[1:], strict=True)]
        for content, start_ns, end_ns in spans:
            if end_ns > start_ns:
                start, took = _us(start_ns), _us(end_ns - start_ns)
                text = f'{{"ph":"X",{content},"ts":{start},"dur":{took},{track}}}'
                yield start, MICRO_BATCHES, batch, -took, text


def _load_events(records: Records, until_ns: int) -> Iterator[Event]:
    """Counters, at every change of one of them."""
    load = records.load
    last: dict[str, str] = {}
    for at, admitted, waiting, reason, kv in zip(
        load.at_ns, load.admitted, load.waiting, load.reason, load.kv_tokens, strict=True
    ):
        if at > until_ns:
            break
        counted = {
            "admitted": _json({"requests": admitted}),
            "waiting": _json({why: waiting * (i == reason) for i, why in enumerate(REASONS) if why}),
            "K/V of the target": _json({"tokens": kv}),
        }
        for name, args in counted.items():
            if last.get(name) != args:
                start = _us(at)
                where = f'"ts":{start},"pid":{LOAD},"tid":0'
                yield start, LOAD, 0, 0.0, f'{{"ph":"C","name":{_json(name)},{where},"args":{args}}}'
                last[name] = args
