"""The first decision of a replay that is not the recorded run's: round, request, then and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from spinsim.engine.records import KINDS, Operations, Records
from spinsim.operations import Operation, Propose, Verify

# Of a round, in the order in which they are decided; the rest of a row follows from these.
_BY_REQUEST = {"drafts": "draft", "lengths": "proposed tokens"}
_SHAPE = ("kind", "model", "micro_batch", "rows", "tokens")  # of an operation, as inputs.parquet has it
_DECIDED = ("requests", "drafts", "lengths", "packing")
_PREFILL = KINDS.index("prefill")
MOST_LISTED = 8
Row = Mapping[str, Any]


class Difference(NamedTuple):
    """What differs, in words, and when it was decided in the replay."""

    decided_ns: int
    text: str


def in_rounds(recorded: pa.Table, again: pa.Table, drafts: Sequence[str]) -> Difference | None:
    """The first row in which two tables of decisions part; None where one begins with the other."""
    common = min(recorded.num_rows, again.num_rows)
    old, new = recorded.slice(0, common), again.slice(0, common)
    if old.equals(new):
        return None
    names = [name for name in old.column_names if name in new.column_names]
    columns = {name: (old[name].to_pylist(), new[name].to_pylist()) for name in names}
    for at in range(common):
        was, now = ({name: values[side][at] for name, values in columns.items()} for side in (0, 1))
        if was != now:
            return Difference(now["assigned_ns"], _rows_differ(at, was, now, drafts))
    return None  # the same values, kept otherwise


def in_flight(
    recorded: pa.Table, records: Records, operations: Mapping[int, Operation], drafts: Sequence[str]
) -> Difference | None:
    """The same for rounds that were decided and not committed when the replay stopped.

    ``operations``: those that had not been handled, by number. A round belongs to the recorded one that its
    micro-batch, having committed as many rounds, committed next.
    """
    made, ops = records.rounds.micro_batch.tolist(), records.operations
    micro_batches = recorded["micro_batch"].to_pylist()
    for number, operation in sorted(operations.items()):
        index, at = ops.micro_batch[number], ops.submitted_ns[number]
        if not isinstance(operation, Propose | Verify) or at < _last_commit_ns(records, index):
            continue  # a catch-up may be for a later round
        rows, done = [i for i, other in enumerate(micro_batches) if other == index], made.count(index)
        if done >= len(rows):
            return Difference(
                at, f"micro-batch {index} has {len(rows)} rounds in the recorded run, and begins another now"
            )
        row = rows[done]
        was = {name: recorded[name][row].as_py() for name in _DECIDED}
        if text := _rows_differ(row, was, _decided(operation, was), drafts):
            return Difference(at, text)
    return None


def _last_commit_ns(records: Records, micro_batch: int) -> int:
    """When a micro-batch last committed a round: what it submitted before belongs to that one."""
    rounds = records.rounds
    committed = zip(rounds.micro_batch, rounds.committed_ns, strict=True)
    return max((at for index, at in committed if index == micro_batch), default=-1)


def left_out(inputs: pa.Table, recorded: pa.Table, records: Records) -> str:
    """The first recorded operation that the replay never came to, in words; empty where there is none."""
    made = len(records.operations.kind)
    rows = {number: i for i, number in enumerate(inputs["operation"].to_pylist()) if number >= made}
    if not rows:
        return ""
    number = min(rows)
    was = tuple(inputs[name][rows[number]].as_py() for name in _SHAPE)
    index = was[_SHAPE.index("micro_batch")]
    done = records.rounds.micro_batch.tolist().count(index)
    its = [i for i, other in enumerate(recorded["micro_batch"].to_pylist()) if other == index][done:]
    place = f"operation {number}"
    if its:
        place = f"round {its[0]}, request {recorded['requests'][its[0]].as_py()[0]}"
    return f"{place}: {_described(*was)} was recorded, nothing is decided now"


def in_prefill(inputs: pa.Table, made: Operations, operations: Sequence[Operation]) -> Difference | None:
    """The first operation that differs in kind, rows or tokens, where it is a prefill or was one: who was
    admitted when. ``inputs``: the recorded run's, a row for each operation that ended."""
    columns = {name: inputs[name].to_pylist() for name in ("operation", *_SHAPE)}
    recorded = {
        number: tuple(columns[name][i] for name in _SHAPE)
        for i, number in enumerate(columns["operation"])
        if number >= 0
    }
    for number, operation in enumerate(operations):
        kind = made.kind[number]
        now = (KINDS[kind], *(getattr(made, name)[number] for name in _SHAPE[1:]))
        was = recorded.get(number, now)
        if was != now:
            if KINDS[_PREFILL] not in (was[0], now[0]):
                return None  # of a round, which has more to say
            requests = operation.requests
            return Difference(
                made.submitted_ns[number],
                f"operation {number}, request {requests[0]}: {_described(*was)} was recorded, "
                f"{_described(*now)}, of requests {_list(requests)}, is decided now",
            )
    return None


def _described(kind: str, model: int, micro_batch: int, rows: int, tokens: int) -> str:
    return f"{kind.replace('_', '-')} of {rows} row{'' if rows == 1 else 's'} and {tokens} tokens"


def _decided(operation: Propose | Verify, was: Row) -> Row:
    """What is known of a round from one of its operations; the recorded values where it says nothing."""
    if isinstance(operation, Verify):
        found = (operation.requests, operation.drafts, operation.lengths, operation.packing.kind)
        return dict(zip(_DECIDED, found, strict=True))
    where = {request: i for i, request in enumerate(was["requests"])}
    if new := [request for request in operation.requests if request not in where]:
        return {**was, "requests": [*was["requests"], *new]}
    drafts, lengths = list(was["drafts"]), list(was["lengths"])
    for i, request in enumerate(operation.requests):
        drafts[where[request]] = operation.draft
        lengths[where[request]] = operation.lengths[i]
    return {**was, "drafts": drafts, "lengths": lengths}


def _rows_differ(number: int, was: Row, now: Row, drafts: Sequence[str]) -> str:
    """``round 7, request 3: draft b was recorded, a is decided now``; empty for equal rows."""
    requests = was["requests"]
    if requests != now["requests"]:
        others = sorted({*requests} ^ {*now["requests"]}) or requests
        both = f"requests {_list(requests)} were recorded, {_list(now['requests'])} are decided now"
        return f"round {number}, request {others[0]}: {both}"
    for name, what in _BY_REQUEST.items():
        for request, old, new in zip(requests, was[name], now[name], strict=True):
            if old != new:
                was_now = (_draft(old, drafts), _draft(new, drafts)) if name == "drafts" else (old, new)
                both = f"{what} {was_now[0]} was recorded, {was_now[1]} is decided now"
                return f"round {number}, request {request}: {both}"
    for name in was:
        if was[name] != now[name]:
            both = f"{name} {was[name]} was recorded, {now[name]} is decided now"
            return f"round {number}, request {requests[0]}: {both}"
    return ""


def _draft(index: int, drafts: Sequence[str]) -> str:
    return "none" if index < 0 else drafts[index] if index < len(drafts) else f"number {index}"


def _list(requests: Sequence[int]) -> str:
    shown = ", ".join(map(str, requests[:MOST_LISTED]))
    return f"[{shown}, ...]" if len(requests) > MOST_LISTED else f"[{shown}]"
