"""Verification through captured graphs: one per (packing, rows, tokens, pieces) bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from spinsim.costs.buckets import bucket_rows, bucket_tokens, row_buckets, token_buckets
from spinsim.live.runner import randomness
from spinsim.live.runner.batch import AttentionBatch, Pieces, Rows, piece_arrays
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.graphs import Recorder, Replay
from spinsim.live.runner.kernels import FlashInferPass, use_kernel
from spinsim.live.runner.sampling import Sampling
from spinsim.live.runner.tables import Array, IntTable, put
from spinsim.live.runner.verification import distribution, verify_greedy, verify_sampled


class Key(NamedTuple):
    """Executed shape: packing, rows, packed tokens, pieces of the table (0 where there is none)."""

    kind: str
    rows: int
    tokens: int
    pieces: int


class Pass(NamedTuple):
    """A recorded verification, what it reads and what it writes (accepted, then the tokens)."""

    replay: Replay
    table: IntTable
    result: torch.Tensor
    flashinfer: FlashInferPass | None


class VerificationGraphs:
    """Verification of up to ``max_rows`` rows with up to ``max_length`` proposals each.

    Tokens beyond the real ones belong to no row and write to the trash slot; rows beyond them
    have no tokens; spare pieces have row -1.
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
        heads: int,
        scale: float,
        kernel: str = "auto",
    ) -> None:
        self.decoder, self.cache, self.recorder = decoder, cache, recorder
        self.sampling, self.kernel = sampling._replace(requests=()), kernel
        self.heads, self.scale = heads, scale
        self.rows, self.max_rows, self.length = bucket_rows(max_rows), max_rows, max_length
        self.proposals = torch.zeros(self.rows, max_length, dtype=torch.int64, device=cache.device)
        self.probabilities: torch.Tensor | None = None
        if not sampling.greedy:
            shape = (self.rows, max_length, vocabulary)
            self.probabilities = torch.zeros(shape, dtype=torch.float32, device=cache.device)
        self.passes: dict[Key, Pass] = {}
        self._workspace: torch.Tensor | None = None
        self._pinned: torch.Tensor | None = None  # where results reach the host
        if cache.device.type == "cuda":
            self._pinned = torch.zeros(self.rows, max_length + 2, dtype=torch.int64, pin_memory=True)

    def keys(self, kinds: Sequence[str]) -> list[Key]:
        """The shapes to capture before a run. Decomposed: up to two pieces a row on average."""
        found, below = [], 0
        for rows in row_buckets(self.max_rows):
            fewest = bucket_tokens(below + 1)
            below = rows
            for tokens in token_buckets(rows * (self.length + 1)):
                if tokens < fewest:
                    continue
                for kind in kinds:
                    factors = (1, 2) if kind == "decomposed" else (1,)
                    found += [Key(kind, rows, tokens, rows * f * (kind != "ragged")) for f in factors]
        return sorted(set(found), key=lambda key: (-key.tokens, key))

    def capture(self, kinds: Sequence[str], progress: Callable[[], None]) -> None:
        """Records every shape of :meth:`keys`, largest first."""
        for key in self.keys(kinds):
            self._pass(key)
            progress()

    def fits(self, rows: int, length: int, sampling: Sampling) -> bool:
        """Can a verification of this size and kind be replayed?"""
        fits = 0 < rows <= self.max_rows and length <= self.length
        return fits and sampling._replace(requests=()) == self.sampling

    def _pass(self, key: Key) -> Pass:
        found = self.passes.get(key)
        if found is None:
            found = self.passes[key] = self._record(key)
        return found

    def _record(self, key: Key) -> Pass:
        device, rows, width = self.cache.device, key.rows, self.length + 1
        longs = dict.fromkeys(("source", "positions", "write"), (key.tokens,))
        longs |= dict.fromkeys(("last", "lengths", "contexts", "requests"), (rows,))
        shorts = {"starts": (rows + 1,), "kv_lens": (rows,), "slots": (rows,), "first": (rows + 1,)}
        shorts |= dict.fromkeys(("piece_row", "piece_start", "piece_end"), (key.pieces,))
        table = IntTable(longs | {"spread": (rows, width)}, shorts, device)
        table.fill()["write"][:] = self.cache.trash * self.cache.slot_tokens
        table.send()
        result = torch.zeros(rows, width + 1, dtype=torch.int64, device=device)
        flashinfer = None
        if key.kind == "ragged" and self.kernel == "flashinfer":
            if self._workspace is None:
                self._workspace = FlashInferPass.workspace(device)
            flashinfer = FlashInferPass(
                self.cache, self.heads, self.scale, rows, key.tokens, width, self._workspace
            )
        function = self._function(key, table.device, result, flashinfer)
        return Pass(self.recorder.record(function), table, result, flashinfer)

    def _function(
        self,
        key: Key,
        table: Mapping[str, torch.Tensor],
        result: torch.Tensor,
        flashinfer: FlashInferPass | None,
    ) -> Replay:
        rows, width = key.rows, self.length + 1
        last, lengths, spread = table["last"], table["lengths"], table["spread"].flatten()
        pieces = None
        if key.kind != "ragged":
            pieces = Pieces(
                row=table["piece_row"],
                start=table["piece_start"],
                end=table["piece_end"],
                first=table["first"],
                length=self.cache.slot_tokens,
                width=key.pieces,
            )
        columns = torch.arange(width, device=self.cache.device)

        def run() -> None:
            proposals = self.proposals[:rows]
            packed = torch.cat((last[:, None], proposals), 1).flatten()[table["source"]]
            batch = AttentionBatch(
                cache=self.cache,
                kind=key.kind,
                write=table["write"],
                slots=table["slots"],
                query_starts=table["starts"],
                kv_lens=table["kv_lens"],
                max_query=width,
                max_kv=self.cache.slot_tokens,
                pieces=pieces,
                backend=flashinfer,
            )
            logits = self.decoder(packed, table["positions"], use_kernel(batch, self.kernel))
            if self.sampling.greedy:
                judged = verify_greedy(logits.argmax(-1)[spread].view(rows, width), proposals, lengths)
            else:
                assert self.probabilities is not None
                target = distribution(logits, self.sampling.temperature, self.sampling.top_p)
                at = table["contexts"][:, None] + columns
                seed, who = self.sampling.seed, table["requests"][:, None]
                judged = verify_sampled(
                    target[spread].view(rows, width, -1),
                    self.probabilities[:rows],
                    proposals,
                    lengths,
                    randomness.uniform(seed, who, at[:, :-1], randomness.ACCEPT),
                    randomness.uniform(seed, who, at, randomness.EMIT),
                )
            result[:, 0] = judged.accepted
            result[:, 1:] = judged.tokens

        return run

    def verify(
        self,
        slots: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        tokens: torch.Tensor,
        probabilities: torch.Tensor | None,
        kind: str,
        piece: int,
        requests: Sequence[int],
    ) -> Array:
        """(accepted, tokens) of every row, ``[R, max_length + 2]``; waits for the device once, at the end."""
        found = self.prepare(slots, last, contexts, lengths, kind, piece, requests)
        found.table.send()
        self.feed(tokens, probabilities)
        found.replay()
        return self.read(found, len(slots))

    def prepare(
        self,
        slots: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        kind: str,
        piece: int,
        requests: Sequence[int],
    ) -> Pass:
        """The pass for these rows, its table filled on the host and not yet sent."""
        count, width, span = len(slots), self.length + 1, self.cache.slot_tokens
        slot, drafted = np.asarray(slots), np.asarray(lengths)
        begin = np.asarray(contexts) - 1  # of the new tokens, within the request
        news = drafted + 1
        ends = begin + news
        pieces = self._pieces(kind, piece, ends)
        first = np.zeros(count + 1, np.int64)
        np.cumsum(news, out=first[1:])
        used = int(first[-1])
        found = self._pass(self._key(kind, count, used, len(pieces[0])))
        host = found.table.fill()
        row = np.repeat(np.arange(count), news)
        column = np.arange(used) - first[row]
        position = begin[row] + column
        put(host["source"], row * width + column, 0)
        put(host["positions"], position, 0)
        put(host["write"], slot[row] * span + position, self.cache.trash * span)
        put(host["spread"], first[:-1, None] + np.minimum(np.arange(width), drafted[:, None]), 0)
        for name, values in (("last", last), ("lengths", drafted), ("contexts", contexts)):
            put(host[name], values, 0)
        put(host["requests"], requests, 0)
        put(host["starts"], first, used)
        put(host["kv_lens"], ends, 0)
        put(host["slots"], slot, self.cache.trash)
        put(host["first"], pieces[2], pieces[2][-1])
        put(host["piece_row"], pieces[0], -1)
        put(host["piece_start"], pieces[1], 0)
        put(host["piece_end"], pieces[3], 0)
        if found.flashinfer is not None:
            empty = [0] * (len(host["slots"]) - count)
            found.flashinfer.plan(Rows([*slots, *empty], [*news.tolist(), *empty], [*ends.tolist(), *empty]))
        return found

    def feed(self, tokens: torch.Tensor, probabilities: torch.Tensor | None) -> None:
        """Copies the proposals ``[R, K]`` to where the passes read them, on the current stream."""
        count, drafted = tokens.shape[0], min(tokens.shape[1], self.length)
        self.proposals[:count, :drafted].copy_(tokens[:, :drafted], non_blocking=True)
        if self.probabilities is not None and probabilities is not None:
            self.probabilities[:count, :drafted].copy_(probabilities[:, :drafted], non_blocking=True)

    def read(self, found: Pass, count: int) -> Array:
        """The result of the pass launched last, once the device has it."""
        if self._pinned is None:
            return found.result[:count].numpy()
        self._pinned[:count].copy_(found.result[:count], non_blocking=True)
        torch.cuda.current_stream(self.cache.device).synchronize()
        return self._pinned[:count].numpy()

    def _pieces(self, kind: str, piece: int, ends: Array) -> tuple[Array, Array, Array, Array]:
        """(row, start, first, end) of the packing's pieces."""
        if kind == "ragged":
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, np.zeros(1, np.int64), nothing
        if kind == "padded":
            longest = min(max(int(ends.max()), piece), self.cache.slot_tokens)
            rows = np.arange(bucket_rows(len(ends)) + 1)
            extents = np.where(rows[:-1] < len(ends), longest, 0)
            return rows[:-1], np.zeros_like(extents), rows, extents
        row, start, first = piece_arrays(ends, max(1, piece))
        return row, start, first, start + max(1, piece)

    def _key(self, kind: str, count: int, tokens: int, pieces: int) -> Key:
        rows = bucket_rows(count)
        return Key(kind, rows, bucket_tokens(tokens), -(-pieces // rows) * rows)
