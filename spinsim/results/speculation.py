"""Drafting, acceptance and verification, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.columns import Bools, Floats, Ints, draft_labels, ratio, view
from spinsim.results.window import Window

Numbers = dict[str, Any]


class RoundRows:
    """The rows of rounds that committed within the window."""

    def __init__(self, records: Records, window: Window) -> None:
        rounds = records.rounds
        self.inside = window.holds(view(rounds.committed_ns))
        keep = np.repeat(self.inside, view(rounds.size))
        self.draft = view(rounds.draft)[keep]
        self.drafted = view(rounds.drafted)[keep]
        self.accepted = view(rounds.accepted)[keep]
        self.committed = view(rounds.committed)[keep]
        self.switched = _switched(records)[keep]


def _switched(records: Records) -> Bools:
    """Rows whose draft differs from the request's last one; rounds without a draft change nothing."""
    draft = view(records.rounds.draft)
    rows = np.flatnonzero(draft >= 0)
    request = view(records.rounds.request)[rows]
    order = np.argsort(request, kind="stable")
    request, chosen = request[order], draft[rows][order]
    changed = (request[1:] == request[:-1]) & (chosen[1:] != chosen[:-1])
    out = np.zeros(draft.size, dtype=np.bool_)
    out[rows[order[1:][changed]]] = True
    return out


def speculation(records: Records, rows: RoundRows, window: Window) -> Numbers:
    """Drafting and acceptance. A verification is one request's proposal checked in one pass."""
    proposed = rows.draft >= 0
    catch_up, times = _draft_times(records, window)
    verifications = int(proposed.sum())
    kept = int(rows.committed[proposed].sum())
    return {
        "rounds": int(rows.draft.size),
        "micro_batch_rounds": int(rows.inside.sum()),
        "verifications": verifications,
        "committed_by_verifications": kept,
        "acceptance_length": ratio(kept, verifications),
        "acceptance_rate": ratio(int(rows.accepted.sum()), int(rows.drafted.sum())),
        "switches": int(rows.switched.sum()),
        "catch_up_tokens": catch_up,
        "acceptance_histogram": _histogram(rows.accepted[proposed]),
        "drafted_histogram": _histogram(rows.drafted[proposed]),
        "per_draft": _per_draft(records, rows, times),
    }


def _histogram(counts: Ints) -> list[int]:
    """How often each value 0, 1, 2, ... occurs."""
    return [int(n) for n in np.bincount(counts)] if counts.size else []


def _draft_times(records: Records, window: Window) -> tuple[int, dict[str, Floats]]:
    """Catch-up tokens, and seconds of proposing and catching up by draft, of operations that ended inside."""
    operations = records.operations
    finished, kind, model = view(operations.finished_ns), view(operations.kind), view(operations.model)
    spent = (finished - view(operations.started_ns)) / NS
    inside = window.holds(finished) & (model >= 0)
    out: dict[str, Floats] = {}
    for name in ("propose", "catch_up"):
        chosen = inside & (kind == KINDS.index(name))
        out[name] = np.bincount(model[chosen], weights=spent[chosen], minlength=len(records.drafts)).astype(
            np.float64
        )
    caught = inside & (kind == KINDS.index("catch_up"))
    return int(view(operations.tokens)[caught].sum()), out


def _per_draft(records: Records, rows: RoundRows, times: dict[str, Floats]) -> Numbers:
    labels = draft_labels(records)
    arm = np.where(rows.draft < 0, len(labels) - 1, rows.draft)
    n = len(labels)
    counts = np.bincount(arm, minlength=n)
    drafted = np.bincount(arm, weights=rows.drafted, minlength=n)
    accepted = np.bincount(arm, weights=rows.accepted, minlength=n)
    committed = np.bincount(arm, weights=rows.committed, minlength=n)
    out: Numbers = {}
    for i, label in enumerate(labels):
        none = i == n - 1
        if none and not counts[i]:
            continue
        out[label] = {
            "share": ratio(int(counts[i]), int(counts.sum())),
            "rounds": int(counts[i]),
            "drafted": int(drafted[i]),
            "accepted": int(accepted[i]),
            "committed": int(committed[i]),
            "acceptance_length": None if none else ratio(int(committed[i]), int(counts[i])),
            "acceptance_rate": ratio(int(accepted[i]), int(drafted[i])),
            "draft_time_s": 0.0 if none else float(times["propose"][i]),
            "catch_up_time_s": 0.0 if none else float(times["catch_up"][i]),
        }
    return out


def verification(records: Records, window: Window) -> Numbers:
    """Real and executed KV and query tokens, summed over verifications of the window."""
    rounds = records.rounds
    inside = window.holds(view(rounds.committed_ns))
    totals = {
        "kv_tokens": int(view(rounds.real_kv_tokens)[inside].sum()),
        "padded_kv_tokens": int(view(rounds.kv_tokens)[inside].sum()),
        "query_tokens": int(view(rounds.real_query_tokens)[inside].sum(dtype=np.int64)),
        "padded_query_tokens": int(view(rounds.query_tokens)[inside].sum(dtype=np.int64)),
    }
    share = ratio(totals["kv_tokens"], totals["padded_kv_tokens"])
    kinds, counts = np.unique(np.array(rounds.packing, dtype=object)[inside], return_counts=True)
    return {
        **totals,
        "padding_fraction": 0.0 if share is None else 1.0 - share,
        "packings": {str(kind): int(n) for kind, n in zip(kinds, counts, strict=True)},
    }
