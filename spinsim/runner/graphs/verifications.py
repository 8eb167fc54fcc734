"""Verification through captured graphs: one per (packing, rows, tokens, pieces) bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from spinsim.buckets import bucket_pieces, bucket_rows, row_buckets
from spinsim.packings import packing_kind
from spinsim.runner import randomness
from spinsim.runner.acceptance_rule import distribution, verify_greedy, verify_sampled
from spinsim.runner.attention.kernels import FlashInferPass, use_kernel
from spinsim.runner.batch import AttentionBatch, Rows, check_spans, pieces_of
from spinsim.runner.decoder import Decoder
from spinsim.runner.graphs.buffers import Array, Inbox, Outbox, wait
from spinsim.runner.graphs.capture import Recorder, Replay
from spinsim.runner.graphs.passes import RecordedPasses
from spinsim.runner.graphs.token_map import spans
from spinsim.runner.kv import SLOT_UNIT, SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import PackedAs, VerifyRows
from spinsim.runner.sampling import Sampling


class Key(NamedTuple):
    """Executed shape: packing, rows, packed tokens, pieces of the table (0 where there is none)."""

    kind: str
    rows: int
    tokens: int
    pieces: int


FIELDS = ("slots", "last", "contexts", "lengths", "requests")
SPARE = np.array((0, 0, 1, -1, 0))[:, None]  # of each field in a row that is not there


class VerificationGraphs(RecordedPasses[Key]):
    """Verification of as many rows with as many proposals each as the plan says.

    From what the host says of the rows a pass works out where everything lies; its result is
    (accepted, then the tokens) of every row. Tokens beyond the real ones belong to no row and write to the
    trash slot; rows beyond them have no tokens; spare pieces have row -1.
    """

    def __init__(self, decoder: Decoder, cache: SlotCache, recorder: Recorder, plan: RunnerPlan) -> None:
        super().__init__(decoder, cache, recorder, plan)
        self.buckets = plan.buckets
        self.rows, self.length = bucket_rows(plan.max_rows), plan.max_length
        shapes = {"rows": (len(FIELDS), self.rows), "proposals": (self.rows, self.length), "piece": (1,)}
        self.inbox = Inbox(shapes, cache.device)
        self.outbox = Outbox((self.rows, self.length + 2), cache.device)
        self.probabilities: torch.Tensor | None = None
        if not plan.sampling.greedy:
            shape = (self.rows, self.length, decoder.vocabulary)
            self.probabilities = torch.zeros(shape, dtype=torch.float32, device=cache.device)
        self.flashinfer: dict[Key, FlashInferPass] = {}  # its plans, where passes run through it
        self._workspace: torch.Tensor | None = None

    def keys(self, kinds: Sequence[str]) -> list[Key]:
        """The shapes to capture before a run, with as many pieces a row as each packing says.

        None of so many pieces that each were shorter than :data:`SLOT_UNIT`.
        """
        found, below = [], 0
        most = max(1, self.cache.slot_tokens // SLOT_UNIT)
        for rows in row_buckets(self.max_rows):
            fewest = self.buckets.tokens(below + 1)
            below = rows
            for tokens in self.buckets.token_buckets(rows * (self.length + 1)):
                if tokens < fewest:
                    continue
                for kind in kinds:
                    found += [
                        Key(kind, rows, tokens, rows * a_row)
                        for a_row in packing_kind(kind).captured
                        if a_row <= most
                    ]
        return sorted(set(found), key=lambda key: (-key.tokens, key))

    def capture(self, kinds: Sequence[str], progress: Callable[[], None]) -> None:
        """Records every shape of :meth:`keys`, largest first."""
        self.record(self.keys(kinds), progress)

    def fits(self, rows: VerifyRows, sampling: Sampling) -> bool:
        """Can a verification of this size and kind be replayed?"""
        return self.takes(len(rows.slots), sampling) and max(rows.lengths) <= self.length

    def _blank(self) -> None:
        self.inbox.host["rows"][:] = SPARE
        self.inbox.host["piece"][0] = self.cache.slot_tokens

    def _send(self, key: Key) -> Replay:
        return self.outbox.send

    def _planned(self, key: Key) -> FlashInferPass | None:
        """FlashInfer's plan of a new shape, where it is to run through that."""
        if key.pieces or self.kernel != "flashinfer":
            return None
        if self._workspace is None:
            self._workspace = FlashInferPass.workspace(self.cache.device)
        heads, scale = self.decoder.heads, self.decoder.scale
        self.flashinfer[key] = FlashInferPass(
            self.cache, heads, scale, key.rows, key.tokens, self.length + 1, self._workspace
        )
        return self.flashinfer[key]

    def _function(self, key: Key) -> Replay:
        flashinfer = self._planned(key)
        rows, width, cache = key.rows, self.length + 1, self.cache
        table = self.inbox.device
        slots, last, contexts, lengths, requests = (field[:rows] for field in table["rows"])
        proposals = table["proposals"][:rows]
        columns = torch.arange(width, device=cache.device)

        def run() -> None:
            begins = contexts - 1
            found = spans(slots, begins, lengths + 1, key.tokens, cache)
            packed = torch.cat((last[:, None], proposals), 1)[found.row, found.column]
            batch = AttentionBatch(
                cache=cache,
                write=found.write,
                slots=found.slots,
                query_starts=found.starts,
                kv_lens=found.kv_lens,
                max_query=width,
                max_kv=cache.slot_tokens,
                pieces=pieces_of(key.kind, found.kv_lens, table["piece"], key.pieces, cache.slot_tokens),
                backend=flashinfer,
            )
            logits = self.decoder(packed, found.positions, use_kernel(batch, self.kernel))
            # Of every place of the table its packed token; places past a row's end repeat its last.
            spread = found.starts[:-1, None] + torch.minimum(columns, lengths[:, None].clamp_min(0))
            spread = spread.clamp_max(key.tokens - 1).flatten()
            if self.sampling.greedy:
                best = self.decoder.likeliest(logits)
                judged = verify_greedy(best[spread].view(rows, width), proposals, lengths)
            else:
                assert self.probabilities is not None
                whole = self.decoder.whole(logits)
                target = distribution(whole, self.sampling.temperature, self.sampling.top_p)
                at = contexts[:, None] + columns
                seed, who = self.sampling.seed, requests[:, None]
                judged = verify_sampled(
                    target[spread].view(rows, width, -1),
                    self.probabilities[:rows],
                    proposals,
                    lengths,
                    randomness.uniform(seed, who, at[:, :-1], randomness.ACCEPT),
                    randomness.uniform(seed, who, at, randomness.EMIT),
                )
            torch.cat((judged.accepted[:, None], judged.tokens), 1, out=self.outbox.device[:rows])

        return run

    def verify(self, rows: VerifyRows, packed: PackedAs) -> Array:
        """(accepted, tokens) of every row, ``[R, max_length + 2]``; the pass writes there again.

        Raises ValueError where a row leaves its slot.
        """
        count, spread = len(rows.slots), rows.proposal.probabilities
        replay = self.prepare(rows, packed)
        if self.probabilities is not None and spread is not None:
            drafted = min(spread.shape[1], self.length)
            self.probabilities[:count, :drafted].copy_(spread[:, :drafted], non_blocking=True)
        replay()
        wait(self.cache.device)
        return self.outbox.host[:count]

    def prepare(self, rows: VerifyRows, packed: PackedAs) -> Replay:
        """The pass for these rows, its inbox filled."""
        slots, last, contexts, lengths, proposal, requests, _ = rows
        count, ends = len(slots), rows.ends
        check_spans(slots, [context - 1 for context in contexts], ends, self.cache)
        packing = packing_kind(packed.kind)
        length = packing.length(packed.piece, max(ends), self.cache.slot_tokens)
        executed, pieces = bucket_rows(count), packing.pieces(ends, length)
        a_row = bucket_pieces(-(-pieces // executed))
        key = Key(packed.kind, executed, self.buckets.tokens(sum(lengths) + count), a_row * executed)
        replay = self.graph(key)
        host = self.inbox.host
        table, tokens = host["rows"], proposal.tokens
        table[:, :count] = np.array((slots, last, contexts, lengths, requests or slots))
        table[:, count:] = SPARE
        drafted = min(tokens.shape[1], self.length)
        host["proposals"][:count, :drafted] = tokens[:, :drafted]
        host["piece"][0] = length
        if (flashinfer := self.flashinfer.get(key)) is not None:
            empty = [0] * (key.rows - count)
            news = [drafted + 1 for drafted in lengths]
            flashinfer.plan(Rows([*slots, *empty], [*news, *empty], [*ends, *empty]))
        return replay
