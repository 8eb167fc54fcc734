"""The proposals of a round that were judged, and what was found of the context before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.policies.base import NOT_LOOKED_UP, Feedback, RequestView
from spinsim.policies.contextual.request_rows import RequestRows

Array = np.ndarray[Any, Any]


class Judged(NamedTuple):
    """Parallel lists, a row a proposal: tokens that were compared with the target's, and that stood;
    ``matched``: tokens at the end of the context that were found earlier in it."""

    requests: list[int]
    drafters: list[int]
    accepted: list[int]
    lengths: list[int]
    matched: list[int]


def judged(feedback: Feedback, known: RequestRows) -> Judged:
    """The round's proposals, of the requests that are ``known``. A lookup is judged by the tokens that were
    committed, chosen or not."""
    rows = []
    for row, view in enumerate(feedback.requests):
        if view.id not in known:
            continue
        draft, length = feedback.drafts[row], feedback.lengths[row]
        agreed = feedback.agreed[row] if feedback.agreed else ()
        longest = max(view.matched, default=0)
        if draft >= 0 and length > 0 and (not agreed or agreed[draft] == NOT_LOOKED_UP):
            rows.append((view.id, draft, feedback.accepted[row], length, longest))
        for lookup, right in enumerate(agreed):
            if right != NOT_LOOKED_UP and view.offered[lookup] > 0:
                compared = min(view.offered[lookup], feedback.committed[row])
                rows.append((view.id, lookup, right, compared, view.matched[lookup]))
    return Judged(*([*column] for column in zip(*rows, strict=True))) if rows else Judged([], [], [], [], [])


def longest_matches(batch: Sequence[RequestView], drafters: int) -> Array:
    """[row, drafter]: tokens that a lookup matched. A model is told of the longest match of all: text that
    repeats is easy for it, too."""
    if not batch[0].matched:
        return np.zeros((len(batch), drafters), int)
    matched = np.array([view.matched for view in batch])
    return np.where(matched == NOT_LOOKED_UP, matched.max(1, keepdims=True), matched)
