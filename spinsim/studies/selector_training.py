"""What the selector ``contextual`` starts with: survival counted over a recording.

    python -m spinsim.studies.selector_training TRACE.npz --out selector.json

The file is given to a scenario as ``policies.selector.trained``. Every output position of every request is
one proposal of every draft: a recording knows them all, where a server sees only what it tried.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.acceptance.lookups import NOT_LOOKED_UP
from spinsim.errors import InputError
from spinsim.policies.contextual.survival import (
    MATCHES,
    SCHEMA,
    UNTRIED,
    Classes,
    Survival,
    match_class,
    recent_class,
    smoothed,
)
from spinsim.recording import Recording, Trace, load_trace

LONGEST = 20  # tokens of a proposal
USUAL = 4  # of the proposals by which a draft's recent acceptance is told


def train(trace: Trace, longest: int = LONGEST) -> dict[str, Any]:
    """The counts of every draft of a recording, by name.

    A model's recent acceptance at a position is that of a request which used it, and nothing else, from its
    first token on, with proposals of :data:`USUAL` tokens. A lookup's is that of a request whose every
    round used the best draft, since it is judged whoever proposed.

    Raises:
        InputError: a draft with probabilities in place of runs, of which nothing can be counted.
    """
    outputs = trace.output_tokens().tolist()
    kinds = sorted(set(trace.domains)) or [""]
    matched = np.zeros((len(kinds), len(MATCHES) + 1))
    counts = {name: Survival(longest, len(kinds), memory=float("inf")) for name in trace.drafts}
    for name, recording in trace.drafts.items():
        if recording.kind != "runs":
            raise InputError(f"draft {name!r} was recorded as probabilities; a recording of runs")
    for row, count in enumerate(outputs):
        kind = kinds.index(trace.domains[row]) if trace.domains else 0
        steps = _steps(trace, row, count)
        matches = _longest_matches(trace, row, count)
        np.add.at(matched, (kind, [match_class(n) for n in matches[1:]]), 1)
        for name, recording in trace.drafts.items():
            if recording.lookup is None:
                seen = _of_model(recording.rows.row(row).tolist(), matches, longest)
            else:
                seen = _of_lookup(recording, row, steps, longest)
            if seen:
                found, recents, accepted, lengths = (list(column) for column in zip(*seen, strict=True))
                weights = np.zeros((len(seen), len(kinds)))
                drafter = np.zeros(len(seen), int)
                weights[:, kind] = 1.0
                counts[name].observe(
                    drafter, Classes(np.array(found), np.array(recents)), accepted, lengths, weights
                )
    return {
        "schema": SCHEMA,
        "kinds": kinds,
        "matches": matched.tolist(),
        "drafts": {name: survival.state() for name, survival in counts.items()},
    }


def _longest_matches(trace: Trace, row: int, count: int) -> list[int]:
    """The longest match that any lookup draft has at every position."""
    found = [d.lookup.matched.row(row).tolist() for d in trace.drafts.values() if d.lookup is not None]
    return [max((one[at] for one in found), default=NOT_LOOKED_UP) for at in range(count)]


def _steps(trace: Trace, row: int, count: int) -> list[int]:
    """Tokens that a round commits at every position, with the best of all drafts."""
    runs = [draft.rows.row(row).tolist() for draft in trace.drafts.values()]
    return [1 + min(USUAL, max(one[at] for one in runs)) for at in range(count)]


Seen = list[tuple[int, int, int, int]]  # class of match, of recent acceptance, tokens accepted, tokens judged


def _of_model(runs: list[int], matches: list[int], longest: int) -> Seen:
    """Every position of one request; the first is prefill's, where no round starts."""
    seen: Seen = []
    recent, next_round = UNTRIED, 1
    for at in range(1, len(matches)):
        # What reaches past the output's end was never judged.
        length = min(longest, len(matches) - at)
        accepted = min(runs[at], length)
        seen.append((match_class(matches[at]), recent_class(recent), accepted, length))
        if at == next_round:
            usual = min(USUAL, length)
            recent = smoothed(recent, min(accepted, usual), usual)
            next_round = at + min(accepted, usual) + 1
    return seen


def _of_lookup(recording: Recording, row: int, steps: list[int], longest: int) -> Seen:
    """As a model's, but judged in every round, by the tokens that were committed whoever proposed them."""
    assert recording.lookup is not None
    matched = recording.lookup.matched.row(row).tolist()
    offered = recording.lookup.offered.row(row).tolist()
    runs = recording.rows.row(row).tolist()
    seen: Seen = []
    recent, next_round = UNTRIED, 1
    for at in range(1, len(steps)):
        length = min(offered[at], longest, len(steps) - at)
        if length:
            seen.append((match_class(matched[at]), recent_class(recent), min(runs[at], length), length))
        if at == next_round:
            next_round = at + steps[at]
            judged = min(offered[at], steps[at])
            if judged:
                recent = smoothed(recent, min(runs[at], judged), judged)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Counts survival over a recording, for the selector contextual."
    )
    parser.add_argument("trace", type=Path, help="an acceptance trace (spinsim trace)")
    parser.add_argument("--out", type=Path, required=True, help="the file for policies.selector.trained")
    given = parser.parse_args()
    try:
        state = train(load_trace(given.trace, "TRACE"))
    except InputError as error:
        parser.exit(2, f"{error}\n")
    given.out.write_text(json.dumps(state), encoding="utf-8")
    print(f"{', '.join(state['drafts'])}: {given.out}")


if __name__ == "__main__":
    main()
