"""Prefill and catch-up through captured graphs: one per (head, rows, tokens) bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from spinsim.costs.buckets import (
    PROMPT_TOKENS,
    bucket_prompt_rows,
    bucket_prompt_tokens,
    prompt_row_buckets,
    prompt_token_buckets,
)
from spinsim.live.runner import randomness
from spinsim.live.runner.batch import AttentionBatch, Pieces, Rows, check_rows
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.graphs import Recorder, Replay
from spinsim.live.runner.kernels import LONG_QUERY, use_kernel
from spinsim.live.runner.sampling import Sampling, choose
from spinsim.live.runner.tables import IntTable, put

NOTHING, LAST, EVERY = "nothing", "last", "every"  # positions whose logits a pass computes


class Key(NamedTuple):
    """Executed shape, and which positions reach the head."""

    head: str
    rows: int
    tokens: int


class PromptGraphs:
    """Passes of up to ``max_rows`` rows and ``PROMPT_TOKENS`` new tokens, in any share.

    Spare tokens belong to no row and write to the trash slot; spare rows have no tokens. A shape is
    recorded when it is first met, until :meth:`capture` is called: from then on what it has not
    recorded is left to eager passes, since they take less time than to record during a run.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: SlotCache,
        recorder: Recorder,
        *,
        max_rows: int,
        sampling: Sampling,
        kernel: str = "auto",
    ) -> None:
        self.decoder, self.cache, self.recorder = decoder, cache, recorder
        self.sampling, self.kernel = sampling._replace(requests=()), kernel
        self.max_rows = max_rows
        rows, tokens, device = bucket_prompt_rows(max_rows), PROMPT_TOKENS, cache.device
        longs = dict.fromkeys(("tokens", "positions", "write"), (tokens,))
        longs |= dict.fromkeys(("ends", "contexts", "requests"), (rows,))
        # A row's only piece is all of it: (row, start) of the table of pieces never change.
        shorts = {"starts": (rows + 1,), "kv_lens": (rows,), "slots": (rows,)}
        self.table = IntTable(longs, shorts, device)
        self.piece_row = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self.piece_start = torch.zeros(rows, dtype=torch.int32, device=device)
        self.following = torch.zeros(rows, dtype=torch.int64, device=device)
        self.best = torch.zeros(tokens, dtype=torch.int64, device=device)
        self.nowhere = torch.zeros(0, dtype=torch.int64, device=device)
        self.graphs: dict[Key, Replay] = {}
        self._complete: set[str] = set()  # heads of which all shapes were captured before a run

    def keys(self, head: str) -> list[Key]:
        """Every shape that a run can meet, largest first so that later graphs reuse its memory."""
        tokens = reversed(prompt_token_buckets(PROMPT_TOKENS))
        rows = prompt_row_buckets(self.max_rows)
        # A bucket of rows is met with more tokens than the bucket below it holds rows.
        return [Key(head, count, total) for total in tokens for count in rows if count // 2 < total]

    def capture(self, head: str, progress: Callable[[], None]) -> None:
        """Records every shape of :meth:`keys`."""
        for key in self.keys(head):
            self._graph(key)
            progress()
        self._complete.add(head)

    def fits(self, head: str, rows: int, tokens: int, sampling: Sampling | None = None) -> bool:
        """Can a pass of this size be replayed? ``sampling``: that of a pass that chooses tokens."""
        fits = 0 < rows <= self.max_rows and 0 < tokens <= PROMPT_TOKENS
        fits = fits and (head in self._complete or not self._complete)
        return fits and (sampling is None or sampling._replace(requests=()) == self.sampling)

    def run(
        self,
        head: str,
        slots: Sequence[int],
        starts: Sequence[int],
        token_lists: Sequence[Sequence[int]],
        requests: Sequence[int] = (),
    ) -> torch.Tensor:
        """One upload and one launch. The following token of each row, the most likely one of every
        token, or nothing; int64, the caller's own. Raises ValueError where a row leaves its slot.
        """
        rows, used = len(slots), sum(map(len, token_lists))
        replay = self._graph(Key(head, bucket_prompt_rows(rows), bucket_prompt_tokens(used)))
        self._fill(slots, starts, token_lists, requests)
        self.table.send()
        replay()
        if head == LAST:
            return self.following[:rows].clone()
        return self.best[:used].clone() if head == EVERY else self.nowhere

    def _fill(
        self,
        slots: Sequence[int],
        starts: Sequence[int],
        token_lists: Sequence[Sequence[int]],
        requests: Sequence[int],
    ) -> None:
        news = np.fromiter(map(len, token_lists), np.int64, len(token_lists))
        slot, begin = np.asarray(slots, np.int64), np.asarray(starts, np.int64)
        ends = begin + news
        check_rows(Rows(slots, news.tolist(), ends.tolist()), self.cache)
        first = np.zeros(len(news) + 1, np.int64)
        np.cumsum(news, out=first[1:])
        used, span = int(first[-1]), self.cache.slot_tokens
        position = np.arange(used) + np.repeat(begin - first[:-1], news)
        host = self.table.fill()
        put(host["tokens"], np.fromiter(chain.from_iterable(token_lists), np.int64, used), 0)
        put(host["positions"], position, 0)
        put(host["write"], np.repeat(slot * span, news) + position, self.cache.trash * span)
        put(host["ends"], np.maximum(first[1:] - 1, 0), 0)
        put(host["contexts"], ends, 0)
        put(host["requests"], requests, 0)
        put(host["starts"], first, used)
        put(host["kv_lens"], ends, 0)
        put(host["slots"], slot, self.cache.trash)

    def _graph(self, key: Key) -> Replay:
        found = self.graphs.get(key)
        if found is None:
            # Recording runs the function: one token of the trash slot, and spare ones.
            self._fill([self.cache.trash], [0], [[0]], ())
            self.table.send()
            found = self.graphs[key] = self.recorder.record(self._function(key))
        return found

    def _function(self, key: Key) -> Replay:
        head, rows, total = key
        table = self.table.device
        tokens, positions, write = (table[name][:total] for name in ("tokens", "positions", "write"))
        slots, kv_lens, ends = (table[name][:rows] for name in ("slots", "kv_lens", "ends"))
        contexts, requests = table["contexts"][:rows], table["requests"][:rows]
        starts = table["starts"][: rows + 1]
        chosen = {NOTHING: self.nowhere, LAST: ends, EVERY: None}[head]

        def run() -> None:
            batch = AttentionBatch(
                self.cache, "ragged", write, slots, starts, kv_lens, total, self.cache.slot_tokens
            )
            logits = self.decoder(tokens, positions, self._attention(batch, rows), chosen)
            if head == LAST:
                drawn, _ = choose(logits, self.sampling, requests, contexts, randomness.EMIT)
                self.following[:rows] = drawn
            elif head == EVERY:
                self.best[:total] = logits.argmax(-1)

        return run

    def _attention(self, batch: AttentionBatch, rows: int) -> AttentionBatch:
        """The batch with its kernel. Any row may have all tokens, so that launches are sized for that."""
        batch = use_kernel(batch, self.kernel)
        if batch.backend is not None or batch.cache.device.type != "cuda" or batch.max_query < LONG_QUERY:
            return batch
        # Triton at many queries: cutting rows would keep partials of [parts, tokens] a row for nothing.
        # As one piece a row, of the row's own length, it writes its result at once.
        batch.kind = "padded"
        batch.pieces = Pieces(
            row=self.piece_row[:rows],
            start=self.piece_start[:rows],
            end=batch.kv_lens,
            first=self.piece_row[: rows + 1],
            length=self.cache.slot_tokens,
            width=rows,
        )
        return batch
