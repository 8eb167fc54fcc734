"""Stopping where a draft is unsure: AdaEDL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from spinsim.drafters.base import HOST
from spinsim.policies.base import Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.registry import LENGTHS


@dataclass(slots=True)
class _Standing:
    """Of one request: the threshold, and the smoothed share of accepted tokens."""

    threshold: float
    accepted: float


@LENGTHS.register("adaedl")
class AdaEDL:
    """Ends a proposal before a token that the draft is unsure of (AdaEDL).

    A token is not proposed where 1 - sqrt(gamma H) < threshold. H is the entropy, in nats, of the draft's
    distribution for it, and the left side approximates a lower bound of its probability of acceptance. After
    each round the threshold goes up by ``step`` where the smoothed share of accepted tokens is at most
    ``target``, else down by as much: rate <- rate_memory * rate + (1 - rate_memory) * accepted / proposed,
    and threshold <- threshold_memory * threshold + (1 - threshold_memory) * (threshold +- step).

    Source: Agrawal, Jeon and Lee, arXiv 2410.18351, with the update of Draft & Verify (arXiv 2309.08168).
    gamma, ``target``, ``step`` and both memories are theirs. Ours: ``start``, a threshold for each request,
    that the first token of a proposal is always proposed, and that lookups, which have no entropy, propose
    ``tokens`` (None: limits.max_length).

    Where it departs: drafts run in steps that were captured beforehand, and draft ``tokens`` in any case.
    What ends early is the proposal that is verified, and simulations charge the same. So it saves verified
    tokens, and no drafting. Entropies are the models' own in a live run. A simulation
    has recorded ones, or draws them with what is accepted (:mod:`spinsim.acceptance.entropies`).
    """

    sees_future = False

    @dataclass(frozen=True)
    class Params:
        tokens: Annotated[int, Ge(1), Tunable(1, 16)] | None = None
        gamma: Annotated[float, Gt(0), Tunable(0.05, 1, log=True)] = 0.2
        start: Annotated[float, Ge(-1), Lt(1), Tunable(0.1, 0.9)] = 0.5
        target: Annotated[float, Gt(0), Le(1)] = 0.9
        step: Annotated[float, Ge(0)] = 0.01
        rate_memory: Annotated[float, Ge(0), Lt(1)] = 0.5
        threshold_memory: Annotated[float, Ge(0), Lt(1)] = 0.9

    def __init__(self, params: AdaEDL.Params, context: PolicyContext) -> None:
        self._params = params
        self._most = min(params.tokens or context.max_length, context.max_length)
        self._sure = [device == HOST for device in context.draft_devices]
        self._known: dict[int, _Standing] = {}

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        return [self._most if draft >= 0 else 0 for draft in drafts]

    def ceilings(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[float]:
        """The most entropy, in nats, of a token that is proposed, by row."""
        return [
            float("inf") if draft < 0 or self._looks_up(draft) else self._ceiling(view.id)
            for view, draft in zip(batch, drafts, strict=True)
        ]

    def observe(self, feedback: Feedback) -> None:
        params = self._params
        rows = zip(feedback.requests, feedback.drafts, feedback.lengths, feedback.accepted, strict=True)
        for view, draft, length, accepted in rows:
            if draft < 0 or length <= 0 or self._looks_up(draft):
                continue
            own = self._of(view.id)
            keep = params.rate_memory
            own.accepted = keep * own.accepted + (1 - keep) * accepted / length
            step = params.step if own.accepted <= params.target else -params.step
            own.threshold += (1 - params.threshold_memory) * step

    def forget(self, request: int) -> None:
        self._known.pop(request, None)

    def threshold(self, request: int) -> float:
        """Of the bound, below which a token is not proposed."""
        return self._of(request).threshold

    def _ceiling(self, request: int) -> float:
        return max(0.0, 1.0 - self.threshold(request)) ** 2 / self._params.gamma

    def _looks_up(self, draft: int) -> bool:
        return bool(self._sure) and self._sure[draft]

    def _of(self, request: int) -> _Standing:
        own = self._known.get(request)
        if own is None:
            own = self._known[request] = _Standing(self._params.start, self._params.target)
        return own
