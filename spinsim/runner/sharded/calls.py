"""The calls of a runner as messages: what the leading rank tells the others, and what they then do.

Probabilities of proposals and the requests of a verification stay with the leader, which alone judges by
them: the others take part in the pass and its collectives, and nobody reads what they return.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from spinsim.packings import kinds
from spinsim.runner.base import Runner, TellsEntropies
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.pages import Blocks
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from spinsim.runner.sampling import Sampling

ROLES = ("target", "draft")
STOP, REPORT, TIME = "stop", "report", "time"  # to the follower itself, not to its runner


class Call(NamedTuple):
    """A method of a runner, its numbers, and its lists of integers."""

    name: str
    numbers: Sequence[int] = ()
    lists: Sequence[Sequence[int] | Array] = ()


def encode(call: Call) -> Array:
    """The call as one int64 vector, stamped with the time."""
    head = [NAMES.index(call.name), time.perf_counter_ns(), len(call.numbers), len(call.lists)]
    sizes = [len(each) for each in call.lists]
    parts = [np.asarray(each, np.int64) for each in (head, call.numbers, sizes, *call.lists)]
    return np.concatenate(parts)


def decode(message: Array) -> tuple[Call, int]:
    """The call, and when it was told, as of :func:`time.perf_counter_ns`, one clock for all processes."""
    name, told_ns, numbers, lists = message[:4].tolist()
    sizes = message[4 + numbers : 4 + numbers + lists].tolist()
    first = 4 + numbers + lists
    ends = list(accumulate(sizes, initial=first))
    found = [message[begin:end] for begin, end in pairwise(ends)]
    return Call(NAMES[name], message[4 : 4 + numbers].tolist(), found), told_ns


def of_sampling(sampling: Sampling) -> list[int]:
    """Temperature, top-p and seed as integers."""
    return [*np.array([sampling.temperature, sampling.top_p]).view(np.int64).tolist(), sampling.seed]


def sampling_of(numbers: Sequence[int]) -> Sampling:
    """Undoes :func:`of_sampling`."""
    temperature, top_p = np.array(numbers[:2], np.int64).view(np.float64).tolist()
    return Sampling(temperature, top_p, numbers[2])


def joined(lists: Sequence[Sequence[int] | Array]) -> tuple[list[int], list[int]]:
    """Lists one after the other, and how long each is."""
    return list(chain.from_iterable(lists)), [len(each) for each in lists]


def parted(flat: Array, lengths: Array) -> list[list[int]]:
    """Undoes :func:`joined`."""
    ends = list(accumulate(lengths.tolist(), initial=0))
    return [flat[begin:end].tolist() for begin, end in pairwise(ends)]


# Of each call, the message; :data:`PERFORM` has the other direction.


def capture(role: str, packings: Sequence[str], predict: bool) -> Call:
    """See :class:`~spinsim.runner.base.Runner`, as for all that follow."""
    return Call("capture", [ROLES.index(role), predict], [[kinds().index(kind) for kind in packings]])


def hold(slots: Sequence[int], blocks: Sequence[Blocks]) -> Call:
    """Pages of slots."""
    return Call("hold", (), [slots, *joined(blocks)])


def prefill(rows: ChunkRows, sampling: Sampling) -> Call:
    """Chunks of prompts."""
    return Call("prefill", of_sampling(sampling), _of_chunks(rows))


def catch_up(rows: ChunkRows, predict: bool) -> Call:
    """Tokens of contexts."""
    return Call("catch_up", [predict], _of_chunks(rows))


def propose(rows: DraftRows, sampling: Sampling) -> Call:
    """A proposal."""
    return Call("propose", of_sampling(sampling), rows)


def verify(rows: VerifyRows, packed: PackedAs, sampling: Sampling) -> Call:
    """A verification, without what only its judge reads."""
    tokens = rows.proposal.tokens
    numbers = [*of_sampling(sampling), kinds().index(packed.kind), packed.piece, tokens.shape[1]]
    return Call("verify", numbers, [rows.slots, rows.last, rows.contexts, rows.lengths, tokens.ravel()])


def _of_chunks(rows: ChunkRows) -> list[Sequence[int]]:
    return [rows.slots, rows.starts, *joined(rows.tokens), rows.requests]


def _capture(runner: Runner, call: Call) -> object:
    role, predict = call.numbers
    packings = [kinds()[number] for number in call.lists[0]]
    return runner.capture(ROLES[role], packings, predict=bool(predict))


def _hold(runner: Runner, call: Call) -> None:
    slots, flat, lengths = _arrays(call)
    runner.hold(slots.tolist(), parted(flat, lengths))


def _prefill(runner: Runner, call: Call) -> object:
    return runner.prefill(_chunks(call), sampling_of(call.numbers))


def _catch_up(runner: Runner, call: Call) -> object:
    return runner.catch_up(_chunks(call), bool(call.numbers[0]))


def _chunks(call: Call) -> ChunkRows:
    slots, starts, flat, lengths, requests = _arrays(call)
    return ChunkRows(slots.tolist(), starts.tolist(), parted(flat, lengths), requests.tolist())


def _tell_entropies(runner: Runner, call: Call) -> None:
    if isinstance(runner, TellsEntropies):
        runner.tell_entropies()


def _propose(runner: Runner, call: Call) -> object:
    rows = DraftRows(*(column.tolist() for column in _arrays(call)))
    return runner.propose(rows, sampling_of(call.numbers))


def _verify(runner: Runner, call: Call) -> object:
    *columns, tokens = _arrays(call)
    slots, last, contexts, lengths = (column.tolist() for column in columns)
    *numbers, kind, piece, width = call.numbers
    proposal = Proposal(tokens.reshape(len(slots), width))
    # Where the pass samples, this rank draws too, and nobody reads it: any requests do.
    rows = VerifyRows(slots, last, contexts, lengths, proposal, slots)
    return runner.verify(rows, PackedAs(kinds()[kind], piece), sampling_of(numbers))


def _arrays(call: Call) -> list[Array]:
    return [np.asarray(each, np.int64) for each in call.lists]


PERFORM: Mapping[str, Callable[[Runner, Call], object]] = {
    "capture": _capture,
    "hold": _hold,
    "apart": lambda runner, _: runner.apart(),
    "share": lambda runner, _: runner.share(),
    "fill": lambda runner, _: runner.fill(),
    "settle": lambda runner, _: runner.settle(),
    "prefill": _prefill,
    "catch_up": _catch_up,
    "tell_entropies": _tell_entropies,
    "propose": _propose,
    "verify": _verify,
}
NAMES: tuple[str, ...] = (*PERFORM, STOP, REPORT, TIME)


def perform(runner: Runner, call: Call) -> Any:
    """Do what a call says with the runner of this rank."""
    return PERFORM[call.name](runner, call)
