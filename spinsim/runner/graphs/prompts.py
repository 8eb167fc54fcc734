"""Prefill and catch-up through captured graphs: one per (head, rows, tokens) bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from spinsim.buckets import (
    PROMPT_TOKENS,
    bucket_prompt_rows,
    bucket_prompt_tokens,
    prompt_passes,
    prompt_row_buckets,
    prompt_token_buckets,
)
from spinsim.runner import randomness
from spinsim.runner.attention.kernels import use_kernel
from spinsim.runner.batch import AttentionBatch, check_spans
from spinsim.runner.decoder import Decoder
from spinsim.runner.graphs.buffers import Array, Inbox, Outbox, wait
from spinsim.runner.graphs.capture import Recorder, Replay
from spinsim.runner.graphs.passes import RecordedPasses
from spinsim.runner.graphs.token_map import spans
from spinsim.runner.kv import SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows
from spinsim.runner.sampling import Sampling, choose

FIELDS = ("slots", "begins", "news", "requests")
NOTHING, LAST, EVERY = "nothing", "last", "every"  # positions whose logits a pass computes


class Key(NamedTuple):
    """Executed shape, and which positions reach the head."""

    head: str
    rows: int
    tokens: int


class PromptGraphs(RecordedPasses[Key]):
    """Calls in passes of up to ``limit`` new tokens in any share.

    Spare tokens belong to no row and write to the trash slot; spare rows have no tokens. A shape is
    recorded when it is first met, until :meth:`capture` is called: from then on what it has not
    recorded is left to eager passes, since they take less time than to record during a run.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: SlotCache,
        recorder: Recorder,
        plan: RunnerPlan,
        limit: int = PROMPT_TOKENS,
    ) -> None:
        super().__init__(decoder, cache, recorder, plan)
        self.limit = limit
        rows, tokens, device = bucket_prompt_rows(plan.max_rows), bucket_prompt_tokens(limit), cache.device
        self.inbox = Inbox({"rows": (len(FIELDS), rows), "tokens": (tokens,)}, device)
        self.following, self.best = Outbox((rows,), device), Outbox((tokens,), device)
        self.nowhere = torch.zeros(0, dtype=torch.int64, device=device)
        self._complete: set[str] = set()  # heads of which all shapes were captured before a run

    def keys(self, head: str) -> list[Key]:
        """Every shape that a run can meet, largest first so that later graphs reuse its memory."""
        tokens = reversed(prompt_token_buckets(self.limit))
        rows = prompt_row_buckets(self.max_rows)
        # A bucket of rows is met with more tokens than the bucket below it holds rows.
        return [Key(head, count, total) for total in tokens for count in rows if count // 2 < total]

    def capture(self, head: str, progress: Callable[[], None]) -> None:
        """Records every shape of :meth:`keys`."""
        self.record(self.keys(head), progress)
        self._complete.add(head)

    def fits(self, head: str, rows: ChunkRows, sampling: Sampling | None = None) -> bool:
        """Can a call of this size be replayed? ``sampling``: that of a call that chooses tokens."""
        recorded = head in self._complete or not self._complete
        return self.takes(len(rows.slots), sampling) and any(rows.tokens) and recorded

    def run(self, head: str, rows: ChunkRows) -> Array:
        """The following token of each row, the most likely one of every token, or nothing; the caller's own.

        Raises ValueError where a row leaves its slot, before any is written.
        """
        slots, starts, tokens, requests = rows
        news = rows.news
        check_spans(slots, starts, [start + new for start, new in zip(starts, news, strict=True)], self.cache)
        keys, packed = requests or slots, list(chain.from_iterable(tokens))
        found = np.zeros({NOTHING: 0, LAST: len(slots), EVERY: len(packed)}[head], np.int64)
        begin = 0
        for taken, begins, pieces in prompt_passes(news, starts, self.limit):
            end = begin + sum(pieces)
            fields = [slots[row] for row in taken], begins, pieces, [keys[row] for row in taken]
            self._replay(head, np.array(fields), packed[begin:end])
            if head == LAST:  # a row that goes on is overwritten by its next piece
                found[list(taken)] = self.following.host[: len(taken)]
            elif head == EVERY:
                found[begin:end] = self.best.host[: end - begin]
            begin = end
        return found

    def _replay(self, head: str, fields: Array, tokens: Sequence[int]) -> None:
        """One pass, to its end, since the next one fills the same inbox; ``fields`` of its rows."""
        rows, used = fields.shape[1], len(tokens)
        replay = self.graph(Key(head, bucket_prompt_rows(rows), bucket_prompt_tokens(used)))
        table = self.inbox.host["rows"]
        table[:, :rows] = fields
        table[:, rows:] = 0
        self.inbox.host["tokens"][:used] = tokens
        replay()
        wait(self.cache.device)

    def _blank(self) -> None:
        self.inbox.host["rows"].fill(0)  # spare tokens alone, in no row

    def _send(self, key: Key) -> Replay | None:
        return {NOTHING: None, LAST: self.following.send, EVERY: self.best.send}[key.head]

    def _function(self, key: Key) -> Replay:
        head, rows, total = key
        slots, begins, news, requests = (field[:rows] for field in self.inbox.device["rows"])
        tokens = self.inbox.device["tokens"][:total]

        def run() -> None:
            found = spans(slots, begins, news, total, self.cache)
            batch = AttentionBatch(
                self.cache,
                found.write,
                found.slots,
                found.starts,
                found.kv_lens,
                total,
                self.cache.slot_tokens,
            )
            ends = (found.starts[1:].long() - 1).clamp_min(0)
            chosen = {NOTHING: self.nowhere, LAST: ends, EVERY: None}[head]
            logits = self.decoder(tokens, found.positions, use_kernel(batch, self.kernel), chosen)
            if head == LAST:
                contexts = found.kv_lens.long()
                drawn, _ = choose(self.decoder, logits, self.sampling, requests, contexts, randomness.EMIT)
                self.following.device[:rows] = drawn
            elif head == EVERY:
                self.best.device[:total] = self.decoder.likeliest(logits)

        return run
