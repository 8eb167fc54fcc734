"""Results as a notebook shows them: a line and small tables, without pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spinsim.pages.render import page
from spinsim.pages.run_terminal import LATENCIES, duration, lost_rows, number, percent
from spinsim.results.few import few_requests

MOST_ROWS = 40


def shown(
    title: str, header: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    """A heading, a table, and notes below it. All are plain text; rows beyond ``MOST_ROWS`` are counted."""
    given = [[str(cell) for cell in row] for row in rows]
    said = list(notes)
    if len(given) > MOST_ROWS:
        said.append(f"and {len(given) - MOST_ROWS:,} rows more")
    return page("notebook.html", title=title, header=header, rows=given[:MOST_ROWS], notes=said)


def run_shown(s: Mapping[str, Any]) -> str:
    """A run's summary: latencies, drafts, and what held it back."""
    latencies = [
        [LATENCIES[name], *(duration(row[point]) for point in ("mean", "p50", "p90", "p99"))]
        for name, row in s["latency"].items()
        if name in LATENCIES
    ]
    drafts = [
        [name, percent(row["share"]), percent(row["acceptance_rate"]), number(row["acceptance_length"])]
        for name, row in s["speculation"]["per_draft"].items()
    ]
    title = f"{s['scenario']}, {s['mode']}, seed {s['seed']}"
    goodput = f"{number(s['goodput_tokens_per_s'], 4)} tokens/s goodput"
    held, lost = (s.get("held_back") or {}).get("text", ""), lost_rows(s)
    notes = [f"held back: {held}" if held else "", f"workload: {lost}" if lost else "", few_requests(s)]
    return shown(title, ["latency", "mean", "p50", "p90", "p99"], latencies) + shown(
        goodput, ["draft", "share", "rate", "length"], drafts, notes
    )
