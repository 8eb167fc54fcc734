"""A minimal speculative decoding loop over runners: what the live world does, without lanes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spinsim.buckets import USUAL, Buckets
from spinsim.runner.decoder import Decoder, TransformersDecoder
from spinsim.runner.eager import ModelRunner, Part, combine
from spinsim.runner.for_model import cache_of
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout, SlotCache
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, VerifyRows
from spinsim.runner.sampling import Sampling


def runner_of(
    model: LoadedModel,
    slots: int = 8,
    slot_tokens: int = 160,
    *,
    lean: bool = False,
    graphed: bool = False,
    sampling: Sampling = Sampling(),
    page_tokens: int | None = None,
    pages: int | None = None,
    buckets: Buckets = USUAL,
) -> ModelRunner:
    cache = cache_of(model, Layout(slots, slot_tokens, page_tokens, pages))
    decoder: Decoder = LeanDecoder(model, cache.slot_tokens) if lean else TransformersDecoder(model)
    if not graphed:
        return ModelRunner(decoder, cache)
    return GraphedRunner(decoder, cache, RunnerPlan(slots, 4, sampling, buckets=buckets))


def shuffled(cache: SlotCache, seed: int = 0) -> SlotCache:
    """The cache, with whole slots on pages in any order."""
    order = random.Random(seed).sample(range(cache.pages), cache.pages)
    width = cache.table.width
    cache.table.hold(range(cache.slots), [order[s * width : (s + 1) * width] for s in range(cache.slots)])
    return cache


def speculate(
    target: ModelRunner,
    drafts: Sequence[ModelRunner],
    prompts: Sequence[Sequence[int]],
    outputs: int,
    *,
    seed: int = 0,
    kinds: Sequence[str] = ("padded", "decomposed", "ragged"),
    sampling: Sampling = Sampling(),
    chunk: int = 5,
    max_length: int = 4,
) -> tuple[list[list[int]], int]:
    """(outputs, accepted proposals), with random drafts (or none), lengths and packings every round."""
    choose = random.Random(seed)
    count = len(prompts)
    slots = choose.sample(range(target.cache.slots), count)
    contexts = [list(prompt) for prompt in prompts]
    for begin in range(0, max(map(len, prompts)), chunk):
        rows = [i for i in range(count) if begin < len(prompts[i])]
        fed = ChunkRows(
            [slots[i] for i in rows],
            [begin] * len(rows),
            [prompts[i][begin : begin + chunk] for i in rows],
            rows,
        )
        first = target.prefill(fed, sampling).tolist()
        for i, token in zip(rows, first, strict=True):
            if begin + chunk >= len(prompts[i]):
                contexts[i].append(token)
    cached = [[0] * count for _ in drafts]
    accepted = 0
    while live := [i for i in range(count) if len(contexts[i]) - len(prompts[i]) < outputs]:
        arm = {i: choose.randrange(-1, len(drafts)) for i in live}
        wanted = {i: choose.randint(1, max_length) if arm[i] >= 0 else 0 for i in live}
        parts = []
        for d, draft in enumerate(drafts):
            rows = [i for i in live if arm[i] == d]
            behind = [i for i in rows if cached[d][i] < len(contexts[i]) - 2]
            if behind:
                missing = ChunkRows(
                    [slots[i] for i in behind],
                    [cached[d][i] for i in behind],
                    [contexts[i][cached[d][i] : -1] for i in behind],
                )
                draft.catch_up(missing)
            if rows:
                asked = DraftRows(
                    [slots[i] for i in rows],
                    [contexts[i][-2] for i in rows],
                    [contexts[i][-1] for i in rows],
                    [len(contexts[i]) for i in rows],
                    [wanted[i] for i in rows],
                    rows,
                )
                proposal = draft.propose(asked, sampling)
                parts.append(Part([live.index(i) for i in rows], range(len(rows)), proposal))
        judged = VerifyRows(
            [slots[i] for i in live],
            [contexts[i][-1] for i in live],
            [len(contexts[i]) for i in live],
            [wanted[i] for i in live],
            combine(parts, len(live), target.device),
            live,
        )
        packed = PackedAs(choose.choice(list(kinds)), choose.choice([3, 8, 16]))
        done = target.verify(judged, packed, sampling)
        for row, i in enumerate(live):
            before = len(contexts[i])
            contexts[i] += done.tokens[row]
            accepted += done.accepted[row]
            if arm[i] >= 0:
                cached[arm[i]][i] = before + min(done.accepted[row], wanted[i] - 1)
    return [
        context[len(p) : len(p) + outputs] for context, p in zip(contexts, prompts, strict=True)
    ], accepted
