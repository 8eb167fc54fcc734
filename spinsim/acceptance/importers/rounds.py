"""Rounds that somebody kept of an engine of their own: a row for each request, draft and round.

A CSV file with a header, or JSON Lines. ``request``, ``draft``, ``drafted`` and ``accepted`` are needed;
``position`` (tokens of the output that were there before the round) and ``prompt_tokens`` may be there, in
every row or in none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spinsim.acceptance.chains import UNKNOWN, Rebuilt, mark, probabilities
from spinsim.acceptance.importers.base import Imported, Importer, ImportOptions
from spinsim.acceptance.json_records import MOST_TOKENS, Fields, json_records
from spinsim.errors import InputError, reason_of
from spinsim.files import DAMAGED, open_text
from spinsim.recording import Recording, Trace

NEEDED = ("request", "draft", "drafted", "accepted")
EXPECTED = (
    "CSV with a header, or JSON Lines: request, draft, drafted, accepted, and perhaps position and "
    "prompt_tokens, a row for each round"
)
AFTER_PREFILL = 1  # the output position at which a request's first round begins


class _Requests:
    """What rows said so far: hits by request and draft, and where each draft's next round begins."""

    def __init__(self) -> None:
        self.prompts: dict[str, int] = {}
        self.drafts: dict[str, None] = {}
        self.hits: dict[tuple[str, str], list[int]] = {}
        self._next: dict[tuple[str, str], int] = {}

    def add(self, row: Fields) -> None:
        request, draft = row.name("request"), row.name("draft")
        drafted, accepted = row.number("drafted"), row.number("accepted")
        if accepted > drafted:
            raise row.wrong(
                f"{accepted} of {drafted} proposed tokens; at most {drafted}, without the target's own",
                "accepted",
            )
        of = (request, draft)
        at = self._next.get(of, AFTER_PREFILL)
        if "position" in row.values:
            at = row.number("position")
        self._next[of] = at + accepted + 1
        if self._next[of] > MOST_TOKENS:
            raise row.wrong(f"{self._next[of]} tokens in all, above {MOST_TOKENS}", "accepted")
        hits = self.hits.setdefault(of, [])
        hits += [UNKNOWN] * (self._next[of] - len(hits))
        mark(hits, at, accepted, drafted)
        self.drafts[draft] = None
        prompt = row.number("prompt_tokens", 1) if "prompt_tokens" in row.values else 1
        if self.prompts.setdefault(request, prompt) != prompt:
            raise row.wrong(f"{prompt}, but {self.prompts[request]} in an earlier row", "prompt_tokens")

    def rebuilt(self, draft: str) -> list[Rebuilt]:
        """A draft's hits in every request, as long as the longest output of any draft there."""
        rows = []
        for request in self.prompts:
            length = max(len(self.hits.get((request, other), ())) for other in self.drafts)
            hits = self.hits.get((request, draft), [])
            rows.append(Rebuilt(hits + [UNKNOWN] * (length - len(hits))))
        return rows


def read(path: Path, options: ImportOptions) -> Imported:
    """Hits of every draft, rebuilt from its rounds, each of which commits one token more than it accepted.

    Without ``position`` a draft's rounds follow one another from the token on that prefill yields: each draft
    was recorded by itself. With it, drafts may have taken turns. What a draft was not asked is drawn at its
    own rate over the request, or over all requests where it never drafted in this one.

    Raises:
        InputError: no such file, a row that is no such round, or no row.
    """
    found = _Requests()
    told: frozenset[str] | None = None
    for row in _rows(path):
        optional = frozenset(("position", "prompt_tokens")) & row.values.keys()
        if told is not None and optional != told:
            raise row.wrong("is in some rows and not in others", min(optional ^ told))
        told = optional
        found.add(row)
    if not found.prompts:
        raise InputError(f"holds no round; {EXPECTED}", file=str(path))
    rebuilt = {draft: found.rebuilt(draft) for draft in found.drafts}
    trace = Trace(
        target="",
        keys=tuple(found.prompts),
        prompt_tokens=tuple(found.prompts.values()),
        drafts={name: Recording.of_probabilities(probabilities(rows)) for name, rows in rebuilt.items()},
    )
    notes = [_said(draft, rows) for draft, rows in rebuilt.items()]
    if "prompt_tokens" not in (told or ()):
        notes.append("prompts have no lengths and count as 1 token")
    return Imported(trace, tuple(notes))


def _said(draft: str, rows: list[Rebuilt]) -> str:
    known, positions = sum(one.known() for one in rows), sum(len(one.hits) for one in rows)
    never = sum(not one.known() for one in rows)
    note = f"{draft}: {known} of {positions} positions rebuilt; the others are drawn at its own rate"
    return note + (f"; it never drafted in {never} of {len(rows)} requests" if never else "")


def _rows(path: Path) -> Iterator[Fields]:
    if ".csv" not in path.suffixes:
        yield from json_records(path, EXPECTED)
        return
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"no column {missing[0]}; {EXPECTED}", file=str(path), line=1)
            for row in reader:
                yield Fields(_cells(row), str(path), reader.line_num, EXPECTED)
    except (OSError, csv.Error, *DAMAGED) as error:
        raise InputError(f"cannot be read: {reason_of(error)}; {EXPECTED}", file=str(path)) from error


def _cells(row: Mapping[str | None, Any]) -> dict[str, Any]:
    """A CSV row's cells, numbers as numbers; empty ones are missing."""
    return {
        name: int(cell) if cell.isdecimal() and name not in ("request", "draft") else cell
        for name, cell in (
            (name, cell.strip()) for name, cell in row.items() if name and isinstance(cell, str)
        )
        if cell
    }


ROUNDS = Importer(read, EXPECTED)
