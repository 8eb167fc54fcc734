"""Drafting through captured graphs: one for the first step and one for the later ones, per row bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from spinsim.costs.buckets import bucket_rows, draft_step_shapes, row_buckets
from spinsim.live.runner import randomness
from spinsim.live.runner.batch import AttentionBatch
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.graphs import Recorder, Replay
from spinsim.live.runner.kernels import use_kernel
from spinsim.live.runner.sampling import Sampling, choose
from spinsim.live.runner.tables import IntTable, put


class ProposalGraphs:
    """Proposals of up to ``max_rows`` rows and ``max_length`` tokens, fed back on the device.

    Rows are sorted by falling length, so that those still drafting are always the first ones; a
    step runs on their number's bucket, and rows between that number and the bucket write to the
    trash slot. Every step reads its positions from a table that was uploaded once a proposal.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: SlotCache,
        recorder: Recorder,
        *,
        max_rows: int,
        max_length: int,
        vocabulary: int,
        sampling: Sampling,
        kernel: str = "auto",
    ) -> None:
        self.decoder, self.cache, self.recorder = decoder, cache, recorder
        self.sampling, self.kernel = sampling._replace(requests=()), kernel
        self.rows, self.max_rows, self.length = bucket_rows(max_rows), max_rows, max_length
        device = cache.device

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        # Per step positions and cache places of every row, its slots and KV lengths; tokens, positions and
        # places of the first step's pairs; the first step to run, and where each row went when sorted.
        pairs, row = (self.rows, 2), (self.rows,)
        by_step = (max_length, 2, self.rows)
        longs = {"steps": by_step, "tokens": pairs, "positions": pairs, "write": pairs}
        longs |= {"requests": row, "inverse": row, "step": (1,)}
        self.table = IntTable(longs, {"slots": by_step}, device)
        self._steps = np.arange(max_length)[:, None]
        self.current = zeros(self.rows)
        self.tokens = zeros(max_length, self.rows)
        self.probabilities: torch.Tensor | None = None
        if not sampling.greedy:
            self.probabilities = zeros(max_length, self.rows, vocabulary, dtype=torch.float32)
        self.graphs: dict[tuple[bool, int], Replay] = {}

    def capture(self, progress: Callable[[], None]) -> None:
        """Records every bucket, largest first so that later graphs reuse its memory."""
        for rows in reversed(row_buckets(self.max_rows)):
            for first in (True, False):
                self._graph(first, rows)
                progress()

    @property
    def count(self) -> int:
        """Graphs that :meth:`capture` records."""
        return 2 * len(row_buckets(self.max_rows))

    def fits(self, rows: int, length: int, sampling: Sampling) -> bool:
        """Can a proposal of this size and kind be replayed?"""
        fits = 0 < rows <= self.max_rows and 0 < length <= self.length
        return fits and sampling._replace(requests=()) == self.sampling

    def _graph(self, first: bool, rows: int) -> Replay:
        found = self.graphs.get((first, rows))
        if found is None:
            # Recording runs the function: on trash, from step 0.
            self._blank()
            found = self.graphs[first, rows] = self.recorder.record(self._function(first, rows))
        return found

    def _blank(self) -> None:
        host = self.table.fill()
        trash = self.cache.trash * self.cache.slot_tokens
        for name, values in host.items():
            values.fill(trash if name == "write" else 0)
        host["steps"][:, 1] = trash
        host["slots"][:, 0], host["slots"][:, 1] = self.cache.trash, 2
        self.table.send()

    def _function(self, first: bool, rows: int) -> Replay:
        new = 2 if first else 1
        starts = torch.arange(0, new * rows + 1, new, dtype=torch.int32, device=self.cache.device)
        ends = torch.arange(1, 2 * rows, 2, device=self.cache.device) if first else None
        table = self.table.device
        pairs = [table[name].flatten()[: 2 * rows] for name in ("tokens", "positions", "write")]
        counter, requests = table["step"], table["requests"][:rows]

        def run() -> None:
            at = counter % self.length  # warm-up and recording run past the end
            slots, kv_lens = table["slots"].index_select(0, at)[0, :, :rows]
            if first:
                tokens, positions, write = pairs
            else:
                positions, write = table["steps"].index_select(0, at)[0, :, :rows]
                tokens = self.current[:rows]
            batch = AttentionBatch(
                self.cache, "ragged", write, slots, starts, kv_lens, new, self.cache.slot_tokens
            )
            logits = self.decoder(tokens, positions, use_kernel(batch, self.kernel), ends)
            drawn, spread = choose(logits, self.sampling, requests, kv_lens.long(), randomness.PROPOSE)
            self.current[:rows] = drawn
            self.tokens[:, :rows].index_copy_(0, at, drawn[None])
            if spread is not None:
                assert self.probabilities is not None
                self.probabilities[:, :rows].index_copy_(0, at, spread[None])
            counter.add_(1)

        return run

    def propose(
        self,
        slots: Sequence[int],
        previous: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        requests: Sequence[int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See :meth:`forward.ModelRunner.propose`; one upload, then only launches."""
        graphs = self.prepare(slots, previous, last, contexts, lengths, requests)
        self.table.send()
        for replay in graphs:
            replay()
        return self.collect(len(graphs), len(slots))

    def prepare(
        self,
        slots: Sequence[int],
        previous: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        requests: Sequence[int],
    ) -> list[Replay]:
        """The graph of every step; the table is filled on the host and not yet sent."""
        shapes = draft_step_shapes(lengths)
        graphs = [self._graph(step == 0, rows) for step, rows in enumerate(shapes)]
        host, count, steps = self.table.fill(), len(slots), len(shapes)
        trash, span = self.cache.trash, self.cache.slot_tokens
        length = np.asarray(lengths)
        order = np.argsort(-length, kind="stable")
        slot = np.asarray(slots)[order]
        step = self._steps[:steps]
        active = length[order] > step
        position = np.asarray(contexts)[order] - 1 + step  # [step, row]
        table, pairs = host["steps"], host["write"]
        table[:steps, 0, :count] = np.where(active, position, 0)
        table[:steps, 0, count:] = 0
        table[:steps, 1, :count] = np.where(active, slot * span + position, trash * span)
        table[:steps, 1, count:] = trash * span
        shorts = host["slots"]
        shorts[:steps, 0, :count] = np.where(active, slot, trash)
        shorts[:steps, 0, count:] = trash
        shorts[:steps, 1, :count] = np.where(active, position + 1, 2)
        shorts[:steps, 1, count:] = 2
        host["tokens"][:count, 0] = np.asarray(previous)[order]
        host["tokens"][:count, 1] = np.asarray(last)[order]
        host["tokens"][count:] = 0
        host["positions"][:, 1], pairs[:, 1] = table[0]
        host["positions"][:count, 0] = table[0, 0, :count] - 1
        pairs[:count, 0] = table[0, 1, :count] - 1
        host["positions"][count:], pairs[count:] = 0, trash * span
        if requests:
            put(host["requests"], np.asarray(requests)[order], 0)
        host["inverse"][order] = np.arange(count)
        host["step"][0] = 0
        return graphs

    def collect(self, steps: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Tokens and probabilities of the proposal launched last, in the order it was asked for."""
        index = self.table.device["inverse"][:count]
        tokens = self.tokens[:steps].index_select(1, index).t()
        if self.probabilities is None:
            return tokens, None
        return tokens, self.probabilities[:steps].index_select(1, index).transpose(0, 1)
