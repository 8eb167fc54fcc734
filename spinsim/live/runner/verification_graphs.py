"""Verification through captured graphs: one per (packing, rows, tokens, pieces) bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.costs.buckets import bucket_rows, bucket_tokens, row_buckets, token_buckets
from spinsim.live.runner import randomness
from spinsim.live.runner.batch import AttentionBatch, Pieces, Rows, flat_positions, piece_table, upload_array
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.graphs import Recorder, Replay
from spinsim.live.runner.kernels import FlashInferPass, use_kernel
from spinsim.live.runner.sampling import Sampling
from spinsim.live.runner.verification import distribution, verify_greedy, verify_sampled

Array = np.ndarray[Any, Any]


class Key(NamedTuple):
    """Executed shape: packing, rows, packed tokens, pieces of the table (0 where there is none)."""

    kind: str
    rows: int
    tokens: int
    pieces: int


class Pass(NamedTuple):
    """A recorded verification and the tensors it reads and writes."""

    replay: Replay
    longs: torch.Tensor
    shorts: torch.Tensor
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
        longs = torch.zeros(3 * key.tokens + rows * width + 4 * rows, dtype=torch.int64, device=device)
        longs[2 * key.tokens : 3 * key.tokens] = self.cache.trash * self.cache.slot_tokens
        shorts = torch.zeros((rows + 1) * 2 + 2 * rows + 3 * key.pieces, dtype=torch.int32, device=device)
        result = torch.zeros(rows, width + 1, dtype=torch.int64, device=device)
        flashinfer = None
        if key.kind == "ragged" and self.kernel == "flashinfer":
            if self._workspace is None:
                self._workspace = FlashInferPass.workspace(device)
            flashinfer = FlashInferPass(
                self.cache, self.heads, self.scale, rows, key.tokens, width, self._workspace
            )
        function = self._function(key, longs, shorts, result, flashinfer)
        return Pass(self.recorder.record(function), longs, shorts, result, flashinfer)

    def _function(
        self,
        key: Key,
        longs: torch.Tensor,
        shorts: torch.Tensor,
        result: torch.Tensor,
        flashinfer: FlashInferPass | None,
    ) -> Replay:
        rows, tokens, width = key.rows, key.tokens, self.length + 1
        sizes = [tokens, tokens, tokens, rows * width, rows, rows, rows, rows]
        source, positions, write, spread, last, lengths, contexts, requests = torch.split_with_sizes(
            longs, sizes
        )
        sizes = [rows + 1, rows, rows, rows + 1, key.pieces, key.pieces, key.pieces]
        starts, kv_lens, slots, first, row, start, end = torch.split_with_sizes(shorts, sizes)
        pieces = None
        if key.kind != "ragged":
            pieces = Pieces(row, start, end, first, self.cache.slot_tokens, key.pieces)
        columns = torch.arange(width, device=self.cache.device)

        def run() -> None:
            proposals = self.proposals[:rows]
            packed = torch.cat((last[:, None], proposals), 1).flatten()[source]
            batch = AttentionBatch(
                cache=self.cache,
                kind=key.kind,
                write=write,
                slots=slots,
                query_starts=starts,
                kv_lens=kv_lens,
                max_query=width,
                max_kv=self.cache.slot_tokens,
                pieces=pieces,
                backend=flashinfer,
            )
            logits = self.decoder(packed, positions, use_kernel(batch, self.kernel))
            if self.sampling.greedy:
                judged = verify_greedy(logits.argmax(-1)[spread].view(rows, width), proposals, lengths)
            else:
                assert self.probabilities is not None
                target = distribution(logits, self.sampling.temperature, self.sampling.top_p)
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
    ) -> torch.Tensor:
        """Launches the pass; the result ``[R, max_length + 2]`` (accepted, tokens) is still on the device."""
        count, width = len(slots), self.length + 1
        news = [length + 1 for length in lengths]
        ends = [context + length for context, length in zip(contexts, lengths, strict=True)]
        real = Rows(slots, news, ends)
        table = self._pieces(kind, piece, ends)
        key = self._key(kind, count, sum(news), len(table[0]))
        found = self._pass(key)
        positions, write = flat_positions(real, self.cache.slot_tokens)
        used, spare = len(positions), key.tokens - len(positions)
        first = np.cumsum([0, *news])
        column = np.arange(width)
        limit = np.asarray(lengths)[:, None]
        spread = np.zeros((key.rows, width), np.int64)
        spread[:count] = first[:-1, None] + np.minimum(column, limit)
        source = (np.arange(count)[:, None] * width + column)[column <= limit]
        rest = key.rows - count
        trash = self.cache.trash * self.cache.slot_tokens
        longs = np.concatenate(
            (
                _padded(source, key.tokens, 0),
                _padded(positions, key.tokens, 0),
                _padded(write, used + spare, trash),
                spread.ravel(),
                *(_padded(row, key.rows, 0) for row in (last, lengths, contexts, requests)),
            )
        )
        shorts = np.concatenate(
            (
                _padded(first, key.rows + 1, used),
                _padded(ends, key.rows, 0),
                _padded(slots, key.rows, self.cache.trash),
                _padded(table[3], key.rows + 1, table[3][-1]),
                _padded(table[0], key.pieces, -1),
                _padded(table[1], key.pieces, 0),
                _padded(table[2], key.pieces, 0),
            )
        ).astype(np.int32)
        found.longs.copy_(upload_array(longs, self.cache.device), non_blocking=True)
        found.shorts.copy_(upload_array(shorts, self.cache.device), non_blocking=True)
        drafted = min(tokens.shape[1], self.length)
        self.proposals[:count, :drafted].copy_(tokens[:, :drafted], non_blocking=True)
        if self.probabilities is not None and probabilities is not None:
            self.probabilities[:count, :drafted].copy_(probabilities[:, :drafted], non_blocking=True)
        if found.flashinfer is not None:
            empty = [0] * rest
            found.flashinfer.plan(Rows([*slots, *empty], [*news, *empty], [*ends, *empty]))
        found.replay()
        return found.result[:count]

    def _pieces(self, kind: str, piece: int, ends: Sequence[int]) -> tuple[list[int], ...]:
        """(row, start, end, first) of the packing's pieces."""
        if kind == "ragged":
            return [], [], [], [0]
        if kind == "padded":
            longest = min(max(max(ends), piece), self.cache.slot_tokens)
            rows = list(range(bucket_rows(len(ends))))
            extents = [longest] * len(ends) + [0] * (len(rows) - len(ends))
            return rows, [0] * len(rows), extents, [*rows, len(rows)]
        row, start, first = piece_table(ends, max(1, piece))
        return row, start, [begin + max(1, piece) for begin in start], first

    def _key(self, kind: str, count: int, tokens: int, pieces: int) -> Key:
        rows = bucket_rows(count)
        return Key(kind, rows, bucket_tokens(tokens), -(-pieces // rows) * rows)


def _padded(values: Sequence[int] | Array, size: int, fill: int) -> Array:
    out = np.full(size, fill, np.int64)
    out[: len(values)] = values
    return out
