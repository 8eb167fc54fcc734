"""Drafting through captured graphs: one for the first step and one for the later ones, per row bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from spinsim.costs.buckets import bucket_rows, draft_step_shapes, row_buckets
from spinsim.live.runner import randomness
from spinsim.live.runner.batch import AttentionBatch, upload_array
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.graphs import Recorder, Replay
from spinsim.live.runner.kernels import use_kernel
from spinsim.live.runner.sampling import Sampling, choose


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

        # All long integers in one tensor (one upload): per step positions and cache places of every
        # row; places, positions and tokens of the first step's pairs; request ids.
        sizes = (2 * max_length * self.rows, 2 * self.rows, 2 * self.rows, 2 * self.rows, self.rows)
        self.longs = zeros(sum(sizes))
        table, *firsts, self.requests = torch.split_with_sizes(self.longs, list(sizes))
        self.table = table.view(max_length, 2, self.rows)
        self.first_tokens, self.first_positions, self.first_write = firsts
        self.shorts = zeros(max_length, 2, self.rows, dtype=torch.int32)  # slots, KV lengths
        self.step = zeros(1)
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
        self.longs.zero_()
        self.table[:, 1].fill_(self.cache.trash * self.cache.slot_tokens)
        self.first_write.fill_(self.cache.trash * self.cache.slot_tokens)
        self.shorts[:, 0].fill_(self.cache.trash)
        self.shorts[:, 1].fill_(2)
        self.step.zero_()

    def _function(self, first: bool, rows: int) -> Replay:
        new = 2 if first else 1
        starts = torch.arange(0, new * rows + 1, new, dtype=torch.int32, device=self.cache.device)
        ends = torch.arange(1, 2 * rows, 2, device=self.cache.device) if first else None

        def run() -> None:
            at = self.step % self.length  # warm-up and recording run past the end
            slots, kv_lens = self.shorts.index_select(0, at)[0, :, :rows]
            if first:
                tokens, positions = self.first_tokens[: 2 * rows], self.first_positions[: 2 * rows]
                write = self.first_write[: 2 * rows]
            else:
                positions, write = self.table.index_select(0, at)[0, :, :rows]
                tokens = self.current[:rows]
            batch = AttentionBatch(
                self.cache, "ragged", write, slots, starts, kv_lens, new, self.cache.slot_tokens
            )
            logits = self.decoder(tokens, positions, use_kernel(batch, self.kernel), ends)
            drawn, spread = choose(
                logits, self.sampling, self.requests[:rows], kv_lens.long(), randomness.PROPOSE
            )
            self.current[:rows] = drawn
            self.tokens[:, :rows].index_copy_(0, at, drawn[None])
            if spread is not None:
                assert self.probabilities is not None
                self.probabilities[:, :rows].index_copy_(0, at, spread[None])
            self.step.add_(1)

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
        """See :meth:`forward.ModelRunner.propose`; one or two uploads, then only launches."""
        shapes = draft_step_shapes(lengths)
        graphs = [self._graph(step == 0, rows) for step, rows in enumerate(shapes)]
        order = np.argsort(-np.asarray(lengths), kind="stable")
        count, rows, span = len(slots), self.rows, self.cache.slot_tokens
        slot = np.asarray(slots)[order]
        step = np.arange(self.length)[:, None]
        active = np.asarray(lengths)[order] > step
        position = np.asarray(contexts)[order] - 1 + step  # [step, row]
        table = np.zeros((self.length, 2, rows), np.int64)
        table[:, 1] = self.cache.trash * span
        table[:, 0, :count] = np.where(active, position, 0)
        table[:, 1, :count] = np.where(active, slot * span + position, self.cache.trash * span)
        shorts = np.empty((self.length, 2, rows), np.int32)
        shorts[:, 0], shorts[:, 1] = self.cache.trash, 2
        shorts[:, 0, :count] = np.where(active, slot, self.cache.trash)
        shorts[:, 1, :count] = np.where(active, position + 1, 2)
        pairs = np.zeros((3, rows, 2), np.int64)  # tokens, positions, cache places
        pairs[0, :count] = np.stack((previous, last), 1)[order]
        pairs[1:, :, 1] = table[0]
        pairs[1:, :count, 0] = table[0, :, :count] - 1
        pairs[2, count:, 0] = self.cache.trash * span
        ids = np.zeros(rows, np.int64)
        if requests:
            ids[:count] = np.asarray(requests)[order]
        longs = np.concatenate((table.ravel(), pairs.ravel(), ids))
        self.longs.copy_(upload_array(longs, self.cache.device))
        self.shorts.copy_(upload_array(shorts, self.cache.device))
        self.step.zero_()
        for replay in graphs:
            replay()
        index = upload_array(np.argsort(order), self.cache.device)
        tokens = self.tokens[: len(shapes)].index_select(1, index).t()
        if self.probabilities is None:
            return tokens, None
        return tokens, self.probabilities[: len(shapes)].index_select(1, index).transpose(0, 1)
