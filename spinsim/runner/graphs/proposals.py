"""Drafting through captured graphs: one for the first step and one for the later ones, per row bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from spinsim.buckets import draft_step_shapes
from spinsim.runner import randomness
from spinsim.runner.attention.kernels import use_kernel
from spinsim.runner.batch import AttentionBatch, check_spans, upload_array
from spinsim.runner.decoder import Decoder
from spinsim.runner.graphs.buffers import Array, Inbox, Outbox, wait
from spinsim.runner.graphs.capture import Recorder, Replay, in_turn
from spinsim.runner.graphs.passes import RecordedPasses
from spinsim.runner.graphs.token_map import no_steps, steps, torch_steps
from spinsim.runner.kv import SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import DraftRows, Proposal
from spinsim.runner.sampling import Sampling, choose, entropy

FIELDS = ("slots", "previous", "last", "contexts", "lengths", "requests")


class Key(NamedTuple):
    """Is it the first step, and of how many rows?"""

    first: bool
    rows: int


class ProposalGraphs(RecordedPasses[Key]):
    """Proposals of as many rows and tokens as the plan says, fed back on the device.

    Rows are sorted by falling length, so that those still drafting are always the first ones; a
    step runs on their number's bucket, and rows between that number and the bucket write to the
    trash slot. The first step's graph fetches what the host says of the rows and works out the places of
    all steps; every step's graph sends what was drafted so far.
    """

    def __init__(self, decoder: Decoder, cache: SlotCache, recorder: Recorder, plan: RunnerPlan) -> None:
        super().__init__(decoder, cache, recorder, plan)
        self.buckets = plan.buckets
        self.rows, self.length = plan.buckets.rows(plan.max_rows), plan.max_length
        device = cache.device

        self.inbox = Inbox({"rows": (len(FIELDS), self.rows)}, device)
        self.outbox = Outbox((self.length, self.rows), device)
        self.entropies: Outbox | None = None
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)  # the step to run next
        self.steps = no_steps(self.length, self.rows, device)
        self.current = torch.zeros(self.rows, dtype=torch.int64, device=device)
        self.probabilities: torch.Tensor | None = None
        if not plan.sampling.greedy:
            shape = self.length, self.rows, decoder.vocabulary
            self.probabilities = torch.zeros(shape, device=device)

    def tell_entropies(self) -> None:
        """Steps recorded from now on say how sure the model was of each token."""
        shape = self.length, self.rows
        self.entropies = Outbox(shape, self.cache.device, torch.float32)

    def capture(self, progress: Callable[[], None]) -> None:
        """Records every bucket, largest first so that later graphs reuse its memory."""
        buckets = reversed(self.buckets.row_buckets(self.max_rows))
        self.record([Key(first, rows) for rows in buckets for first in (True, False)], progress)

    @property
    def count(self) -> int:
        """Graphs that :meth:`capture` records."""
        return 2 * len(self.buckets.row_buckets(self.max_rows))

    def fits(self, rows: DraftRows, sampling: Sampling) -> bool:
        """Can a proposal of this size and kind be replayed?"""
        return self.takes(len(rows.slots), sampling) and 0 < max(rows.lengths) <= self.length

    def _blank(self) -> None:
        # Without an active row, all on trash. A later step works out no places, and would run on those of
        # the proposal before.
        self.inbox.host["rows"].fill(0)
        nobody = torch.zeros(self.rows, dtype=torch.int64, device=self.cache.device)
        torch_steps(nobody, nobody, nobody, self.cache, self.steps)

    def _fetch(self, key: Key) -> Replay | None:
        return self.inbox.fetch if key.first else None

    def _send(self, key: Key) -> Replay:
        return (
            self.outbox.send if self.entropies is None else in_turn([self.outbox.send, self.entropies.send])
        )

    def _function(self, key: Key) -> Replay:
        first, rows = key
        new = 2 if first else 1
        device = self.cache.device
        starts = torch.arange(0, new * rows + 1, new, dtype=torch.int32, device=device)
        ends = torch.arange(1, 2 * rows, 2, device=device) if first else None
        field = dict(zip(FIELDS, self.inbox.device["rows"], strict=True))
        places = self.steps

        def run() -> None:
            if first:
                steps(field["slots"], field["contexts"], field["lengths"], self.cache, places)
                self.counter.zero_()
                at = self.counter
                tokens = torch.stack((field["previous"], field["last"]), 1).flatten()[: 2 * rows]
                positions, write = places.first_positions[: 2 * rows], places.first_write[: 2 * rows]
            else:
                at = self.counter % self.length  # warm-up and recording run past the end
                positions, write = places.places.index_select(0, at)[0, :, :rows]
                tokens = self.current[:rows]
            slots, kv_lens = places.rows.index_select(0, at)[0, :, :rows]
            batch = AttentionBatch(self.cache, write, slots, starts, kv_lens, new, self.cache.slot_tokens)
            logits = self._logits(key, tokens, positions, use_kernel(batch, self.kernel), ends)
            requests = field["requests"][:rows]
            drawn, spread = choose(
                self.decoder, logits, self.sampling, requests, kv_lens.long(), randomness.PROPOSE
            )
            self.current[:rows] = drawn
            self.outbox.device[:, :rows].index_copy_(0, at, drawn[None])
            if self.entropies is not None:
                self.entropies.device[:, :rows].index_copy_(0, at, entropy(logits, spread)[None])
            if spread is not None:
                assert self.probabilities is not None
                self.probabilities[:, :rows].index_copy_(0, at, spread[None])
            self.counter.add_(1)

        return run

    def _logits(
        self,
        key: Key,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        ends: torch.Tensor | None,
    ) -> torch.Tensor:
        """Of each row's last token, ``[rows, V]``; ``ends`` says which those are in a first step."""
        return self.decoder(tokens, positions, batch, ends)

    def propose(self, rows: DraftRows) -> Proposal:
        """See :meth:`ModelRunner.propose`. Raises ValueError where a row leaves its slot."""
        order, graphs = self.prepare(rows)
        for replay in graphs:
            replay()
        return self.collect(len(graphs), len(rows.slots), order)

    def prepare(self, rows: DraftRows) -> tuple[Array | None, list[Replay]]:
        """Fills the inbox; the row at each place of it (None: as given), and the graph of every step."""
        slots, previous, last, contexts, lengths, requests = rows
        ends = [context + length - 1 for context, length in zip(contexts, lengths, strict=True)]
        check_spans(slots, [context - 2 for context in contexts], ends, self.cache)
        shapes = draft_step_shapes(lengths, self.buckets)
        graphs = [self.graph(Key(step == 0, executed)) for step, executed in enumerate(shapes)]
        table, count = self.inbox.host["rows"], len(slots)
        values = np.array((slots, previous, last, contexts, lengths, requests or slots))
        order = None
        if min(lengths) < max(lengths):
            order = np.argsort(-values[4], kind="stable")
            values = values[:, order]
        table[:, :count] = values
        table[:, count:] = 0
        return order, graphs

    def collect(self, count: int, rows: int, order: Array | None) -> Proposal:
        """The proposal launched last, in the order it was asked for."""
        spread = None
        if self.probabilities is not None:
            inverse = np.arange(rows) if order is None else np.argsort(order)
            index = upload_array(inverse, self.cache.device)
            spread = self.probabilities[:count].index_select(1, index).transpose(0, 1)
        wait(self.cache.device)
        places: slice | Array = slice(None) if order is None else order
        tokens = np.empty((rows, count), np.int64)
        tokens[places] = self.outbox.host[:count, :rows].T
        sure = None
        if self.entropies is not None:
            sure = np.empty((rows, count), np.float32)
            sure[places] = self.entropies.host[:count, :rows].T
        return Proposal(tokens, spread, sure)
