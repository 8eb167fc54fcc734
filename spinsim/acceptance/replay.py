"""A recording as the acceptance of a workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.counter import BITS, bits53, counters, item_key, purpose_key
from spinsim.acceptance.runs import runs_of
from spinsim.errors import InputError
from spinsim.recording import PROBABILITY_STEPS, Recording
from spinsim.workload.request import Request


class Join(NamedTuple):
    """``rows[request]``: the recorded request that stands for it. ``said``: how, for reports."""

    rows: list[int]
    said: str


def join(keys: Sequence[str], lengths: Sequence[NDArray[np.int64]], requests: Sequence[Request]) -> Join:
    """By key where the recording knows the request's key, else by index modulo the recording.

    ``keys`` name the recorded requests, ``lengths`` are those of the recordings in use, by recorded request.

    Raises:
        InputError: an output that is longer than the recording of it.
    """
    known = {key: row for row, key in enumerate(keys) if key}
    rows = [known.get(request.key, request.id % len(keys)) for request in requests]
    by_key = sum(request.key in known for request in requests)
    recorded = [min(each) for each in zip(*(counts.tolist() for counts in lengths), strict=True)]
    for request, row in zip(requests, rows, strict=True):
        if recorded and request.output_tokens > recorded[row]:
            raise InputError(
                f"request {request.id} generates {request.output_tokens} tokens, but its recording "
                f"({keys[row]!r}) ends after {recorded[row]}; the recording itself as workload.source, "
                f"or outputs of at most {min(recorded)} tokens, which every recording covers",
                key="acceptance.path",
            )
    return Join(rows, f"{by_key} requests by key, {len(requests) - by_key} by index modulo {len(keys)}")


def recorded_runs(
    recordings: Sequence[Recording], rows: Sequence[int], positions: Sequence[int], seed: int
) -> Callable[[int], list[list[int]]]:
    """Runs of each draft as recorded; where probabilities are, accepted bits are drawn with them.

    ``positions[request]``: how many to return; 0 where the recording ends before (beyond the output,
    where no round starts).
    """
    key = purpose_key(seed, "acceptance")
    counted = counters(len(recordings), max(positions, default=0))
    # u < q / STEPS in integers: u 53 bits, q 16 bits
    scale = 2.0**BITS / PROBABILITY_STEPS
    tables = [
        np.ceil(recording.rows.values * scale).astype(np.uint64)
        if recording.kind == "probabilities"
        else None
        for recording in recordings
    ]

    def draw(request: int) -> list[list[int]]:
        count, row = positions[request], rows[request]
        drawn: list[list[int]] = []
        for draft, (recording, table) in enumerate(zip(recordings, tables, strict=True)):
            start = int(recording.rows.offsets[row])
            stop = min(int(recording.rows.offsets[row + 1]), start + count)
            if table is None:
                runs = recording.rows.values[start:stop].tolist()
            else:
                bits = bits53(item_key(key, request), counted[draft, : stop - start])
                runs = runs_of(bits < table[start:stop]).tolist()
            drawn.append(runs + [0] * (count - len(runs)))
        return drawn

    return draw
