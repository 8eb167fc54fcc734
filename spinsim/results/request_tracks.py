"""requests.timeline.json: the life of each request as a track, in Chrome's trace event format.

It is made on demand, from a results folder: a long run has more requests than a viewer likes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from spinsim.errors import InputError, reason_of

FILE = "requests.timeline.json"
Event = dict[str, Any]


def write_request_tracks(folder: Path) -> Path:
    """Write the tracks of a run's folder beside its page; the path. Raises InputError where it is none."""
    try:
        requests = pq.read_table(folder / "requests.parquet").to_pylist()
        rounds = pq.read_table(folder / "rounds.parquet").to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(
            f"is no results folder: {reason_of(error)}; give one that `simulate` or `run` wrote",
            file=str(folder),
        ) from error
    path = folder / FILE
    path.write_text(json.dumps(request_tracks(requests, rounds), separators=(",", ":")), encoding="utf-8")
    return path


def request_tracks(requests: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The trace: for each row of ``requests`` a track that waits, fills the cache and decodes.

    Decoding holds a slice for each of its ``rounds``, named by the draft and how many of its tokens stood.
    """
    events: list[Event] = [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "requests"}}
    ]
    for row in requests:
        track = {"pid": 1, "tid": row["request"]}
        name = " ".join(filter(None, (f"request {row['request']}", row["domain"])))
        events.append({"ph": "M", "name": "thread_name", **track, "args": {"name": name}})
        args = {key: row[key] for key in ("key", "status", "prompt_tokens", "output_tokens", "preemptions")}
        moments = [row["arrival_s"], row["admitted_s"], row["first_token_s"], row["finished_s"]]
        for i, part in enumerate(("waiting", "prefill", "decoding")):
            start = moments[i]
            end = next((moment for moment in moments[i + 1 :] if moment is not None), None)
            if start is not None and end is not None and end > start:
                events.append(_slice(part, start, end, track, args))
    for row in rounds:
        args = {key: row[key] for key in ("round", "drafted", "accepted", "committed")}
        name = f"{row['draft']} {row['accepted']}/{row['drafted']}"
        track = {"pid": 1, "tid": row["request"]}
        if row["committed_s"] is not None and row["committed_s"] > row["assigned_s"]:
            events.append(_slice(name, row["assigned_s"], row["committed_s"], track, args))
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _slice(name: str, start_s: float, end_s: float, track: dict[str, Any], args: dict[str, Any]) -> Event:
    times = {"ts": round(1e6 * start_s, 3), "dur": round(1e6 * (end_s - start_s), 3)}
    return {"ph": "X", "name": name, **times, **track, "args": args}
