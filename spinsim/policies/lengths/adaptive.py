"""Lengths that follow what was accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from spinsim.policies.base import NO_DRAFT, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.beliefs import DraftingTimes, ragged
from spinsim.policies.registry import LENGTHS

_MOST_CACHED = 1 << 14


@LENGTHS.register("heuristic")
class Heuristic:
    """transformers' assisted generation: +2 after a proposal accepted whole, else -1, at least 1.

    Per request, whatever the draft. ``start`` is our default (transformers: a setting of the draft).
    """

    sees_future = False

    @dataclass(frozen=True)
    class Params:
        start: Annotated[int, Ge(1), Tunable(1, 16)] = 5

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._limit = context.max_length
        self._start = min(params.start, self._limit)
        self._next: dict[int, int] = {}

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        known, start = self._next, self._start
        return [
            known.get(view.id, start) if draft >= 0 else 0 for view, draft in zip(batch, drafts, strict=True)
        ]

    def observe(self, feedback: Feedback) -> None:
        known = self._next
        for view, length, accepted in zip(
            feedback.requests, feedback.lengths, feedback.accepted, strict=True
        ):
            if length:
                now = known.get(view.id, self._start)
                known[view.id] = min(now + 2, self._limit) if accepted == length else max(now - 1, 1)

    def forget(self, request: int) -> None:
        self._next.pop(request, None)


@LENGTHS.register("goodput")
class GoodputOptimal:
    """One length for the whole micro-batch: argmax_k sum_i E_i(k) / T(k), E_i(k) = (1 - a^(k+1)) / (1 - a).

    SmartSpec / TurboSpec (arXiv 2406.14066). a is the acceptance rate of the request's draft: an exponential
    average of accepted over tried positions (ours: one estimate per draft). T(k) is predicted: the
    slowest drafts' lane, then the verification; kept by (rows of each draft, mean context to 64 tokens).
    """

    sees_future = False

    @dataclass(frozen=True)
    class Params:
        smoothing: Annotated[float, Gt(0), Le(1), Tunable(0.005, 0.5, log=True)] = 0.05
        initial: Annotated[float, Gt(0), Lt(1)] = 0.7

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._context = context
        self._drafting = DraftingTimes(context)
        self._keep = 1.0 - params.smoothing
        self._smoothing = params.smoothing
        self._accepted = [params.initial] * len(context.drafts)
        self._tried = [1.0] * len(context.drafts)
        self._times: dict[tuple[int, ...], list[float]] = {}

    def acceptance(self, draft: int) -> float:
        """The current estimate of a draft's acceptance rate."""
        return self._accepted[draft] / self._tried[draft]

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        counts = [0] * (len(self._accepted) + 1)
        tokens = 0
        for view, draft in zip(batch, drafts, strict=True):
            counts[draft] += 1
            tokens += view.prompt_tokens + view.generated
        if counts[NO_DRAFT] == len(drafts):
            return [0] * len(drafts)
        times = self._round_times(counts, tokens // len(batch) // 64 * 64 + 64)
        best, goodput = 1, 0.0
        # E(k) = 1 + a E(k-1), summed over the rows of each draft.
        expected = [1.0] * len(self._accepted)
        rates = [self.acceptance(draft) for draft in range(len(expected))]
        for k, seconds in enumerate(times, start=1):
            total = float(counts[NO_DRAFT])
            for draft, rate in enumerate(rates):
                if counts[draft]:
                    expected[draft] = 1.0 + rate * expected[draft]
                    total += counts[draft] * expected[draft]
            if total > goodput * seconds:
                best, goodput = k, total / seconds
        return [best if draft >= 0 else 0 for draft in drafts]

    def observe(self, feedback: Feedback) -> None:
        keep, smoothing = self._keep, self._smoothing
        for draft, length, accepted in zip(feedback.drafts, feedback.lengths, feedback.accepted, strict=True):
            if length and draft >= 0:
                tried = accepted if accepted == length else accepted + 1
                self._accepted[draft] = keep * self._accepted[draft] + smoothing * accepted
                self._tried[draft] = keep * self._tried[draft] + smoothing * tried

    def forget(self, request: int) -> None:
        pass

    def _round_times(self, counts: Sequence[int], context: int) -> list[float]:
        """T(1) .. T(max_length), never 0."""
        key = (context, *counts)
        times = self._times.get(key)
        if times is None:
            lengths = range(1, self._context.max_length + 1)
            times = [max(self._round_s(counts, context, k), 1e-9) for k in lengths]
            if len(self._times) >= _MOST_CACHED:
                self._times.clear()
            self._times[key] = times
        return times

    def _round_s(self, counts: Sequence[int], context: int, k: int) -> float:
        predictor, context = self._context.predictor, self._context.within(context, k)
        by_draft = {
            draft: predictor.propose(draft, [k] * rows, [context] * rows).seconds
            for draft, rows in enumerate(counts[:NO_DRAFT])
            if rows
        }
        rows = sum(counts)
        drafting = rows - counts[NO_DRAFT]
        packing = ragged(rows, rows * context + drafting * k, rows + drafting * k)
        moved = predictor.transfer(drafting, drafting * k).seconds
        return self._drafting.seconds(by_draft) + moved + predictor.verify(packing).seconds
