"""Drafting, acceptance and verification, in numbers."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from spinsim.engine.columns import blocks
from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.columns import Bools, Floats, Ints, draft_labels, ratio, view
from spinsim.results.round_tally import RoundTally
from spinsim.results.window import Window

Numbers = dict[str, Any]


class RoundRows:
    """The rows of rounds that committed within the window, each column made when it is asked for."""

    def __init__(self, records: Records, window: Window) -> None:
        self._records = records
        self._rounds, self._window = records.rounds, window

    @cached_property
    def inside(self) -> Bools:
        """Which rounds committed within the window."""
        return self._window.holds(view(self._rounds.committed_ns))

    @cached_property
    def _keep(self) -> Bools:
        return np.repeat(self.inside, view(self._rounds.size))

    @cached_property
    def draft(self) -> Ints:
        """Its index, -1 for none."""
        return view(self._rounds.draft)[self._keep]

    @cached_property
    def drafted(self) -> Ints:
        """Proposed tokens."""
        return view(self._rounds.drafted)[self._keep]

    @cached_property
    def accepted(self) -> Ints:
        """Of them, how many the target accepted."""
        return view(self._rounds.accepted)[self._keep]

    @cached_property
    def committed(self) -> Ints:
        """Tokens of the output."""
        return view(self._rounds.committed)[self._keep]


def speculation(records: Records, tally: RoundTally, window: Window) -> Numbers:
    """Drafting and acceptance. A verification is one request's proposal, maybe empty, checked in one pass."""
    catch_up, times = _draft_times(records, window)
    kept = int(tally.committed[:-1].sum())
    return {
        "rounds": tally.rows,
        "micro_batch_rounds": tally.rounds,
        "verifications": tally.verifications,
        "committed_by_verifications": kept,
        "acceptance_length": ratio(kept, tally.verifications),
        "acceptance_rate": ratio(int(tally.accepted.sum()), int(tally.drafted.sum())),
        "switches": tally.switches,
        "catch_up_tokens": catch_up,
        "acceptance_histogram": tally.accepted_histogram.tolist(),
        "drafted_histogram": tally.drafted_histogram.tolist(),
        "per_draft": _per_draft(records, tally, times),
    }


def _draft_times(records: Records, window: Window) -> tuple[int, dict[str, Floats]]:
    """Catch-up tokens, and seconds of proposing and catching up by draft, of operations that ended inside."""
    operations, tokens = records.operations, 0
    out = {name: np.zeros(len(records.drafts)) for name in ("propose", "catch_up")}
    for part in blocks(len(operations.lane)):
        finished, kind, model = (
            column[part] for column in (operations.finished_ns, operations.kind, operations.model)
        )
        spent = (finished - operations.started_ns[part]) / NS
        inside = window.holds(finished) & (model >= 0)
        for name, total in out.items():
            chosen = inside & (kind == KINDS.index(name))
            np.add.at(total, model[chosen], spent[chosen])  # one after the other, whatever the blocks are
        tokens += int(operations.tokens[part][inside & (kind == KINDS.index("catch_up"))].sum())
    return tokens, out


def _per_draft(records: Records, tally: RoundTally, times: dict[str, Floats]) -> Numbers:
    labels = draft_labels(records)
    n, counts = len(labels), tally.by_arm
    out: Numbers = {}
    for i, label in enumerate(labels):
        none = i == n - 1
        if none and not counts[i]:
            continue
        out[label] = {
            "share": ratio(int(counts[i]), int(counts.sum())),
            "rounds": int(counts[i]),
            "drafted": int(tally.drafted[i]),
            "accepted": int(tally.accepted[i]),
            "committed": int(tally.committed[i]),
            "acceptance_length": None if none else ratio(int(tally.committed[i]), int(counts[i])),
            "acceptance_rate": ratio(int(tally.accepted[i]), int(tally.drafted[i])),
            "draft_time_s": 0.0 if none else float(times["propose"][i]),
            "catch_up_time_s": 0.0 if none else float(times["catch_up"][i]),
        }
    return out


def verification(records: Records, window: Window) -> Numbers:
    """Real and executed KV and query tokens, summed over verifications of the window."""
    rounds = records.rounds
    columns = {
        "kv_tokens": rounds.real_kv_tokens,
        "padded_kv_tokens": rounds.kv_tokens,
        "query_tokens": rounds.real_query_tokens,
        "padded_query_tokens": rounds.query_tokens,
    }
    totals = dict.fromkeys(columns, 0)
    labels = rounds.packing.labels
    counts = np.zeros(len(labels), dtype=np.int64)
    for part in blocks(len(rounds.size)):
        inside = window.holds(rounds.committed_ns[part])
        for name, column in columns.items():
            totals[name] += int(column[part][inside].sum(dtype=np.int64))
        counts += np.bincount(rounds.packing.codes[part][inside], minlength=len(labels))
    share = ratio(totals["kv_tokens"], totals["padded_kv_tokens"])
    return {
        **totals,
        "padding_fraction": 0.0 if share is None else 1.0 - share,
        "packings": {kind: int(n) for kind, n in sorted(zip(labels, counts, strict=True)) if n},
    }
