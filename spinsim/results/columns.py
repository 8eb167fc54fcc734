"""Records as numpy columns: views where the memory allows it, and the few columns derived from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.columns import Column
from spinsim.engine.records import Records, RequestRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

NO_DRAFT_LABEL = "none"  # how tables and summaries name the arm on which a request only decodes


def view(column: Column) -> Ints:
    """The column's own memory, or file, as a read-only array; the column cannot grow while the view lives."""
    out: Ints = np.asarray(column)
    out.flags.writeable = False
    return out


def seconds(ns: Ints) -> Floats:
    """Seconds of the run, NaN where the moment never came (-1)."""
    return np.where(ns < 0, np.nan, ns / 1e9)


def row_headers(records: Records) -> Ints:
    """For each request row of the rounds, the index of its micro-batch round."""
    size = view(records.rounds.size)
    return np.repeat(np.arange(size.size, dtype=np.int32), size)


def draft_labels(records: Records) -> list[str]:
    """The drafts' names and, last, that of no draft: so index -1 finds it."""
    taken = NO_DRAFT_LABEL in records.drafts
    return [*records.drafts, f"({NO_DRAFT_LABEL})" if taken else NO_DRAFT_LABEL]


def ratio(numerator: float, denominator: float) -> float | None:
    """None where there is nothing to divide by."""
    return numerator / denominator if denominator > 0 else None


class RequestColumns:
    """One entry per request, in the workload's order. Times in seconds, NaN where they never came."""

    def __init__(self, records: Records) -> None:
        rows: list[RequestRecord] = list(records.by_arrival())
        self.status = np.array([r.status for r in rows], dtype=object)
        self.arrival = _seconds_of([r.arrival_ns for r in rows])
        self.admitted = _seconds_of([r.admitted_ns for r in rows])
        self.first_token = _seconds_of([r.first_token_ns for r in rows])
        self.finished = _seconds_of([r.finished_ns for r in rows])
        self.prompt_tokens = np.array([r.prompt_tokens for r in rows], dtype=np.int64)
        self.output_tokens = np.array([r.output_tokens for r in rows], dtype=np.int64)
        self.preemptions = np.array([r.preemptions for r in rows], dtype=np.int64)

    @property
    def ttft(self) -> Floats:
        """Arrival to first token."""
        return self.first_token - self.arrival

    @property
    def e2e(self) -> Floats:
        """Arrival to the last token."""
        return self.finished - self.arrival

    @property
    def tpot(self) -> Floats:
        """(latency - TTFT) / (output tokens - 1); NaN for outputs of one token."""
        gaps = np.where(self.output_tokens > 1, self.output_tokens - 1, 0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            per_token = (self.finished - self.first_token) / gaps
        return np.where(gaps > 0, per_token, np.nan)


def _seconds_of(ns: list[int]) -> Floats:
    return seconds(np.array(ns, dtype=np.int64))
