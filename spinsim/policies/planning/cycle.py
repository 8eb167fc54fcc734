"""Predicted seconds of a steady cycle: the time in which every active request has had one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.buckets import KV_UNIT, bucket_kv, bucket_rows
from spinsim.operations import KINDS
from spinsim.policies.base import Feedback, PackingPolicy, PolicyContext
from spinsim.policies.beliefs import DraftingTimes, ragged
from spinsim.policies.planning.corrections import Corrections

Array = np.ndarray[Any, Any]


class Contexts(NamedTuple):
    """What the cost of reading a batch's K/V depends on: tokens of the mean request, and of the longest."""

    mean: int
    longest: int


def contexts_of(tokens: Sequence[int]) -> Contexts:
    """Rounded, so that answers can be kept: the mean to a sixteenth of its power of two, the longest up to a
    bucket of K/V."""
    mean = sum(tokens) // len(tokens)
    step = max(KV_UNIT, 1 << max(0, mean.bit_length() - 5))
    rounded = max(KV_UNIT, (mean + step // 2) // step * step)
    return Contexts(rounded, max(rounded, bucket_kv(max(tokens))))


class _Everybody(NamedTuple):
    """Seconds of a round in which everybody has the same arm, by draft (the last: none) and length.

    ``verify`` [length], ``draft`` [draft, length], ``host`` and ``hops`` [draft, 1].
    """

    verify: Array
    draft: Array
    host: Array
    hops: Array


class CycleTimes:
    """Answers of the cost model for plans, kept by rounded shapes.

    ``packings``: those that a plan may choose of, by name, so that it pays for the padding that will be
    executed; none: ragged.
    """

    def __init__(self, context: PolicyContext, packings: Mapping[str, PackingPolicy]) -> None:
        self._context = context
        self._predictor = predictor = context.predictor
        self._packings = {name: _Packed(packing) for name, packing in packings.items()} or {"": _Packed(None)}
        self._drafting = DraftingTimes(context)
        self._everybody: dict[tuple[int, Contexts, str], _Everybody] = {}
        self._draft: dict[tuple[int, int, int], tuple[float, float]] = {}
        self._catch_up: dict[tuple[int, int, int], float] = {}
        self._host: dict[tuple[int, int], float] = {}
        self._hop_s = predictor.hop().seconds
        self.corrections = Corrections(len(context.drafts))
        devices = enumerate(context.draft_devices)
        self._beside_target = {draft for draft, device in devices if device in context.target_devices}

    @property
    def packings(self) -> tuple[str, ...]:
        """The packings to choose of."""
        return tuple(self._packings)

    def verify_s(self, rows: int, tokens: float, longest: int, contexts: Contexts, packing: str) -> float:
        """One verification of ``rows`` with ``tokens`` proposed on average and ``longest`` at most; a line
        between whole numbers."""
        return self.corrections.verify * self._verify_s(rows, tokens, longest, contexts, packing)

    def _verify_s(self, rows: int, tokens: float, longest: int, contexts: Contexts, packing: str) -> float:
        packed = self._packings[packing]
        if packed.pads:
            tokens = longest
        whole = int(tokens)
        seconds = self._verify_whole(packed, rows, whole, contexts)
        if tokens > whole:
            seconds += (tokens - whole) * (self._verify_whole(packed, rows, whole + 1, contexts) - seconds)
        return seconds

    def pads(self, packing: str) -> bool:
        """Does every row get as many queries as the longest proposal asks for?"""
        return self._packings[packing].pads

    def draft_s(self, draft: int, rows: int, length: int, context: int) -> float:
        """A proposal of ``length`` tokens for each of ``rows``: a first step, and equal ones after it."""
        return float(self.corrections.draft[draft]) * self._draft_s(draft, rows, length, context)

    def _draft_s(self, draft: int, rows: int, length: int, context: int) -> float:
        rows = min(bucket_rows(rows), self._context.batch_limit)
        key = draft, rows, context
        line = self._draft.get(key)
        if line is None:
            most = self._context.max_length
            held = [self._context.within(context, most)] * rows
            first = self._predictor.propose(draft, [1] * rows, held).seconds
            step = 0.0
            if most > 1:
                step = (self._predictor.propose(draft, [most] * rows, held).seconds - first) / (most - 1)
            first += self._predictor.transfer(rows, rows).seconds
            line = self._draft[key] = first, step
        return line[0] + line[1] * (length - 1)

    def catch_up_s(self, draft: int, rows: int, tokens: int) -> float:
        """A draft reading ``tokens`` in all for ``rows`` of them, rounded up to a bucket."""
        rows = min(bucket_rows(rows), self._context.batch_limit)
        each = bucket_kv(-(-tokens // rows))
        key = draft, rows, each
        seconds = self._catch_up.get(key)
        if seconds is None:
            held = [self._context.within(each, 1)] * rows
            seconds = self._catch_up[key] = self._predictor.catch_up(draft, held, [0] * rows).seconds
        return seconds

    def host_s(self, rows: int, proposals: int) -> float:
        """What the orchestrator, one thread for everyone, does in a round of ``proposals`` drafts."""
        key = bucket_rows(rows), proposals
        seconds = self._host.get(key)
        if seconds is None:
            ask = self._predictor
            propose, verify = KINDS.index("propose"), KINDS.index("verify")
            each = -(-rows // max(proposals, 1))
            seconds = ask.orchestrate(rows).seconds + ask.handle(KINDS[verify], rows).seconds
            one = ask.orchestrate(each).seconds + ask.handle(KINDS[propose], each).seconds
            seconds = self._host[key] = seconds + proposals * one
        return seconds

    def learn(self, feedback: Feedback, packing: str, depth: int, is_steady: bool) -> None:
        """Correct the costs by what a round of one of ``depth`` micro-batches took.

        Where drafts work beside the target, on its own GPU, operations of several micro-batches slow each
        other, by what the cycle reckons with, and so do proposals of several drafts: those correct the cycle
        alone. A round that is not ``is_steady``, because somebody caught up in it or the depth had just
        changed, tells of its operations, and nothing of the cycle.
        """
        rows, lengths, drafts = len(feedback.lengths), feedback.lengths, feedback.drafts
        if not feedback.verify_s:
            return
        contexts = contexts_of([view.context for view in feedback.requests])
        asked: dict[int, list[int]] = {}
        for draft, length in zip(drafts, lengths, strict=True):
            if length:
                asked.setdefault(draft, []).append(length)
        if depth == 1 or not self._beside_target.intersection(asked):
            said_s = self._verify_s(rows, sum(lengths) / rows, max(lengths), contexts, packing)
            self.corrections.verified(feedback.verify_s, said_s)
            if len(asked) == 1:
                ((draft, proposed),) = asked.items()
                said_s = self._draft_s(draft, len(proposed), max(proposed), contexts.mean)
                self.corrections.proposed(draft, max(feedback.draft_s), said_s)
        if not is_steady:
            return
        verify_s = self.verify_s(rows, sum(lengths) / rows, max(lengths), contexts, packing)
        by_draft = {
            draft: self.draft_s(draft, len(proposed), max(proposed), contexts.mean)
            for draft, proposed in asked.items()
        }
        self.corrections.cycled(depth, feedback.round_s, self._cycle_s(depth, rows, verify_s, by_draft))

    def cycle_s(
        self, depth: int, rows: int, verify_s: float, by_draft: Mapping[int, float], late_s: float = 0.0
    ) -> float:
        """Seconds until every micro-batch has had a round (ours).

        ``rows`` of one micro-batch, its verification's seconds, its proposals' by draft, and
        ``late_s``: what catching up adds to a round. With m micro-batches, D = drafting and V = verifying,

            cycle(m) = max(m V, m D, m H, D + V + H)

        H is the orchestrator's part, hops included in the last term. Drafts of the target's own GPU work
        beside it at a slower pace each, so that m V and m D are not free of each other there.
        """
        return self.corrections.pace(depth) * self._cycle_s(depth, rows, verify_s, by_draft, late_s)

    def _cycle_s(
        self, depth: int, rows: int, verify_s: float, by_draft: Mapping[int, float], late_s: float = 0.0
    ) -> float:
        drafting = self._drafting.seconds(by_draft) + late_s
        host = self.host_s(rows, len(by_draft))
        chain = drafting + verify_s + host + 2 * self._hop_s * (1 + bool(by_draft))
        if depth == 1:
            return chain
        busiest = depth * max(verify_s, drafting, host)
        beside = self._beside_target.intersection(by_draft)
        if beside:
            slowest = max(beside, key=by_draft.__getitem__)
            busiest = max(busiest, depth * self._together(slowest, verify_s, by_draft[slowest]))
        return max(busiest, chain)

    def alike_s(self, depth: int, rows: int, late_s: Array, contexts: Contexts, packing: str) -> Array:
        """Seconds of :meth:`cycle_s` where everybody has the same arm, [draft, length].

        The last draft is none; to the others a length of 0 means nothing. ``late_s`` by draft."""
        key = rows, contexts, packing
        known = self._everybody.get(key)
        if known is None:
            known = self._everybody[key] = self._all_alike(rows, contexts, packing)
        verify, draft, host, hops = known
        draft = draft.copy()
        own = self.corrections
        verify = own.verify * verify
        draft[:-1] *= own.draft[:, None]
        draft += late_s[:, None]
        chain: Array = verify + draft + host + hops
        if depth == 1:
            return own.pace(1) * chain
        busiest = depth * np.maximum(np.maximum(verify, draft), host)
        for beside in self._beside_target:
            together = [self._together(beside, v, d) for v, d in zip(verify, draft[beside], strict=True)]
            busiest[beside] = np.maximum(busiest[beside], depth * np.array(together))
        cycle: Array = own.pace(depth) * np.maximum(busiest, chain)
        return cycle

    def _all_alike(self, rows: int, contexts: Contexts, packing: str) -> _Everybody:
        lengths = range(self._context.max_length + 1)
        verify = [self._verify_s(rows, length, length, contexts, packing) for length in lengths]
        drafts = range(len(self._context.drafts))
        draft = [[self._draft_s(at, rows, length, contexts.mean) for length in lengths] for at in drafts]
        host = [self.host_s(rows, 1)] * len(drafts) + [self.host_s(rows, 0)]
        hops = [4 * self._hop_s] * len(drafts) + [2 * self._hop_s]
        return _Everybody(
            np.array(verify),
            np.array([*draft, [0.0] * len(lengths)]),
            np.array(host)[:, None],
            np.array(hops)[:, None],
        )

    def grouped_s(
        self, depth: int, rows: int, verify_s: float, groups: Mapping[int, tuple[int, float]]
    ) -> float:
        """The cycle of micro-batches that have one draft each: ``groups[draft]`` = (micro-batches, seconds
        of one of its proposals). A draft's lane then works for its own micro-batches only."""
        lane_of = self._context.draft_lanes
        lanes: dict[int, float] = {}
        for draft, (count, seconds) in groups.items():
            lanes[lane_of[draft]] = lanes.get(lane_of[draft], 0.0) + count * seconds
        work = {draft: count * seconds for draft, (count, seconds) in groups.items()}
        drafting = max(self._drafting.seconds(work), max(lanes.values(), default=0.0))
        slowest = max((seconds for _, seconds in groups.values()), default=0.0)
        host = self.host_s(rows, 1)
        chain = slowest + verify_s + host + 4 * self._hop_s
        busiest = max(depth * verify_s, drafting, depth * host)
        beside = self._beside_target.intersection(groups)
        if beside:
            draft = max(beside, key=work.__getitem__)
            shared = sum(work[d] for d in beside)
            busiest = max(busiest, self._together(draft, depth * verify_s, shared))
        return self.corrections.pace(depth) * max(busiest, chain)

    def _together(self, draft: int, verify_s: float, draft_s: float) -> float:
        """Until both are done, side by side on one GPU: each slower while the other runs."""
        target = self._predictor.slowdown(draft, True)
        own = self._predictor.slowdown(draft, False)
        if draft_s * own <= verify_s * target:
            return verify_s + draft_s * own * (1 - 1 / target)
        return draft_s + verify_s * target * (1 - 1 / own)

    def _verify_whole(self, packed: _Packed, rows: int, tokens: int, contexts: Contexts) -> float:
        key = rows, tokens, contexts
        seconds = packed.known.get(key)
        if seconds is None:
            within = self._context.within
            longest, mean = within(contexts.longest, tokens), within(contexts.mean, tokens)
            if packed.policy is None:
                packing = ragged(rows, rows * (mean + tokens), rows * (tokens + 1))
            else:
                kv = [held + tokens for held in _spread(rows, mean, longest)]
                packing = packed.policy.plan(kv, [tokens + 1] * rows)
            seconds = packed.known[key] = self._predictor.verify(packing).seconds
        return seconds


class _Packed:
    """A packing that may be chosen, and the verifications that are known in it."""

    def __init__(self, policy: PackingPolicy | None) -> None:
        self.policy = policy
        self.pads = policy is not None and policy.plan([8, 8], [1, 3]).query_tokens > 4
        self.known: dict[tuple[int, int, Contexts], float] = {}


def _spread(rows: int, mean: int, longest: int) -> list[int]:
    """``rows`` contexts of that mean whose longest is ``longest``: the others lie on a line."""
    if rows == 1 or longest <= mean:
        return [min(mean, longest)] * rows
    low = max(1, 2 * mean - longest)
    return [low + (longest - low) * row // (rows - 1) for row in range(rows)]
