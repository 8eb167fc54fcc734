"""The runner of one model on one device, pass by pass: :class:`spinsim.runner.base.Runner` without graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner import randomness
from spinsim.runner.acceptance_rule import Judged, distribution, verify_greedy, verify_sampled
from spinsim.runner.attention.kernels import require_kernel, use_kernel
from spinsim.runner.base import Progress
from spinsim.runner.batch import Rows, build_batch, upload_array
from spinsim.runner.decoder import Decoder
from spinsim.runner.device import on
from spinsim.runner.graphs.buffers import Array, wait
from spinsim.runner.kv import SlotCache
from spinsim.runner.pages import Blocks
from spinsim.runner.rows import AS_RAGGED, ChunkRows, DraftRows, PackedAs, Proposal, Verified, VerifyRows
from spinsim.runner.sampling import GREEDY, Sampling, choose, entropy


class Part(NamedTuple):
    """Rows ``taken`` of a proposal, which become rows ``placed`` of a verification."""

    placed: Sequence[int]
    taken: Sequence[int]
    proposal: Proposal


def combine(parts: Sequence[Part], rows: int, device: torch.device | str) -> Proposal:
    """Proposals of several drafts as one of ``rows`` rows, its probabilities on ``device``.

    What rows that no part names hold means nothing (their length is 0).
    """
    width = max((part.proposal.tokens.shape[1] for part in parts), default=0)
    tokens = np.zeros((rows, width), np.int64)
    for part in parts:
        drafted = part.proposal.tokens
        tokens[list(part.placed), : drafted.shape[1]] = drafted[list(part.taken)]
    if not width or parts[0].proposal.probabilities is None:
        return Proposal(tokens, None)
    return Proposal(tokens, _combine_spreads(parts, rows, width, device))


def _combine_spreads(
    parts: Sequence[Part], rows: int, width: int, device: torch.device | str
) -> torch.Tensor:
    """The rows' probabilities, ``[rows, width, V]``: every draft's copied whole, then put in order."""
    spreads = [part.proposal.probabilities for part in parts if part.proposal.probabilities is not None]
    place, base = np.zeros(rows, np.int64), 0
    for part, spread in zip(parts, spreads, strict=True):
        place[list(part.placed)] = base + np.asarray(part.taken)
        base += spread.shape[0]
    together = spreads[0].new_zeros(base, width, spreads[0].shape[2], device=device)
    begin = 0
    for spread in spreads:
        end = begin + spread.shape[0]
        together[begin:end, : spread.shape[1]].copy_(spread, non_blocking=True)
        begin = end
    return together.index_select(0, upload_array(place, device))


class ModelRunner:
    """Runs one model eagerly, on any device. One thread at a time.

    Implements :class:`~spinsim.runner.base.Runner`.
    """

    graphs = prompt_graphs = False

    def __init__(self, decoder: Decoder, cache: SlotCache, *, kernel: str = "auto") -> None:
        """``kernel`` computes the ragged packing on CUDA: a name of :mod:`kernels`."""
        require_kernel(kernel, cache)
        self.kernel = kernel
        self.decoder = decoder
        self.cache = cache
        self.device, self.dtype, self.slot_tokens = cache.device, cache.dtype, cache.slot_tokens
        self.tells_entropies = False

    def tell_entropies(self) -> None:
        """Proposals say from now on how sure the model was of each token. Before anything is captured."""
        self.tells_entropies = True

    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """See :class:`~spinsim.runner.base.Runner`: there is nothing to record."""
        return 0

    def hold(self, slots: Sequence[int], blocks: Sequence[Blocks]) -> None:
        """See :meth:`~spinsim.runner.pages.PageTable.hold`."""
        self.cache.table.hold(slots, blocks)

    def apart(self) -> int:
        """See :class:`~spinsim.runner.base.Runner`."""
        return self.cache.table.apart()

    def share(self) -> None:
        """See :class:`~spinsim.runner.base.Runner`."""
        self.cache.table.share()

    def fill(self) -> None:
        """See :class:`~spinsim.runner.base.Runner`."""
        self.cache.keys.normal_()
        self.cache.values.normal_()

    def settle(self) -> None:
        """See :class:`~spinsim.runner.base.Runner`."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def watch(self, report: Callable[[Exception], None]) -> None:
        """There is nothing that could die unseen."""

    def close(self) -> None:
        """Nothing was started."""

    def _index(self, values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64).to(self.device, non_blocking=True)

    def forward(
        self,
        tokens: torch.Tensor,
        rows: Rows,
        packed: PackedAs = AS_RAGGED,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits ``[chosen, V]`` of packed ``tokens`` ``[T]`` that extend ``rows``; of all T for None."""
        batch, positions = build_batch(self.cache, rows, *packed)
        with on(self.device):
            return self.decoder(tokens, positions, use_kernel(batch, self.kernel), chosen)

    def _feed(self, rows: ChunkRows) -> tuple[torch.Tensor, Rows]:
        news = rows.news
        ends = [start + new for start, new in zip(rows.starts, news, strict=True)]
        return self._index(list(chain.from_iterable(rows.tokens))), Rows(rows.slots, news, ends)

    @torch.inference_mode()
    def prefill(self, rows: ChunkRows, sampling: Sampling = GREEDY) -> Array:
        """Tokens enter the cache; returns each row's next token.

        Int64 ``[R]``. What a chunk before a prompt's last yields means nothing.
        """
        tokens, fed = self._feed(rows)
        ends = self._index([end - 1 for end in accumulate(fed.query_lens)])
        logits = self.forward(tokens, fed, chosen=ends)
        return host(self._choose(logits, sampling, rows.requests, fed.kv_lens, randomness.EMIT)[0])

    @torch.inference_mode()
    def catch_up(self, rows: ChunkRows, predict: bool = True) -> Array:
        """Tokens enter the cache likewise; returns the most likely successor of every one.

        Packed int64 ``[T]``; the successor of the token at position p is the model's guess for
        position p + 1. To judge the first token of a call as well, start one token earlier:
        feeding a token twice is harmless. Without ``predict`` the head is left out, and the result
        is empty.
        """
        tokens, fed = self._feed(rows)
        if not predict:
            nowhere = torch.zeros(0, dtype=torch.int64, device=self.device)
            self.forward(tokens, fed, chosen=nowhere)
            wait(self.device)
            return host(nowhere)
        return host(self.decoder.likeliest(self.forward(tokens, fed)))

    @torch.inference_mode()
    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """``lengths[i]`` tokens after each context.

        The first step takes two tokens a row, later ones one; rows leave as they finish. Steps do not wait
        for the device. Afterwards the cache holds ``contexts[i] + lengths[i] - 1`` tokens.
        """
        steps = max(rows.lengths, default=0)
        count = len(rows.slots)
        tokens = torch.zeros(count, steps, dtype=torch.int64, device=self.device)
        probabilities: torch.Tensor | None = None
        entropies = torch.zeros(count, steps, device=self.device) if self.tells_entropies else None
        fed = self._index([token for pair in zip(rows.previous, rows.last, strict=True) for token in pair])
        for step in range(steps):
            active = [row for row in range(count) if rows.lengths[row] > step]
            slots, contexts, requests = _taken(active, rows.slots, rows.contexts, rows.requests)
            here = Rows(slots, [2 if step == 0 else 1] * len(active), [kept + step for kept in contexts])
            index = self._index(active)
            if step == 0:
                packed = fed.view(count, 2)[index].flatten()
                chosen = torch.arange(1, 2 * len(active), 2, device=self.device)
                logits = self.forward(packed, here, chosen=chosen)
            else:
                logits = self.forward(tokens[index, step - 1], here)
            drawn, spread = self._choose(logits, sampling, requests, here.kv_lens, randomness.PROPOSE)
            tokens[index, step] = drawn
            if entropies is not None:
                entropies[index, step] = entropy(logits, spread)
            if spread is not None:
                if probabilities is None:
                    probabilities = spread.new_zeros(count, steps, spread.shape[1])
                probabilities[index, step] = spread
        return Proposal(host(tokens), probabilities, None if entropies is None else host(entropies))

    @torch.inference_mode()
    def verify(self, rows: VerifyRows, packed: PackedAs = AS_RAGGED, sampling: Sampling = GREEDY) -> Verified:
        """One pass over each row's last token and its proposals, whose probabilities are on any device."""
        lengths, width = rows.lengths, max(rows.lengths, default=0)
        tokens = np.ascontiguousarray(rows.proposal.tokens[:, :width])
        proposals = torch.from_numpy(tokens).to(self.device)
        table = torch.cat((self._index(rows.last)[:, None], proposals), 1)
        source, spread = layout(lengths, width)
        fed = table.flatten()[self._index(source)]
        logits = self.forward(fed, Rows(rows.slots, [length + 1 for length in lengths], rows.ends), packed)
        judged = self._judge(logits, self._index(spread), proposals, rows, sampling)
        return Verified.of(torch.cat((judged.accepted[:, None], judged.tokens), 1).tolist(), rows.verdict)

    def _judge(
        self,
        logits: torch.Tensor,
        spread: torch.Tensor,
        proposals: torch.Tensor,
        rows: VerifyRows,
        sampling: Sampling,
    ) -> Judged:
        """``spread``: for each place of the table ``[R, K + 1]`` the packed token whose logits it takes."""
        count, width = proposals.shape
        limit = self._index(rows.lengths)
        if sampling.greedy:
            best = self.decoder.likeliest(logits)
            return verify_greedy(best[spread].view(count, width + 1), proposals, limit)
        target = distribution(self.decoder.whole(logits), sampling.temperature, sampling.top_p)
        target = target[spread].view(count, width + 1, -1)
        draft = rows.proposal.probabilities
        if draft is None:
            draft = target.new_zeros(count, width, target.shape[2])
        else:
            draft = draft[:, :width].to(self.device, non_blocking=True)
        requests = self._index(rows.requests)[:, None]
        positions = self._index(rows.contexts)[:, None] + torch.arange(width + 1, device=self.device)
        accept = randomness.uniform(sampling.seed, requests, positions[:, :-1], randomness.ACCEPT)
        emit = randomness.uniform(sampling.seed, requests, positions, randomness.EMIT)
        return verify_sampled(target, draft, proposals, limit, accept, emit)

    def _choose(
        self,
        logits: torch.Tensor,
        sampling: Sampling,
        requests: Sequence[int],
        positions: Sequence[int],
        purpose: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if sampling.greedy:
            return choose(self.decoder, logits, sampling, None, logits, purpose)
        keys, places = self._index(requests), self._index(positions)
        return choose(self.decoder, logits, sampling, keys, places, purpose)


def host(tensor: torch.Tensor) -> Array:
    """A tensor's values, once its device has them."""
    values: Array = tensor.cpu().numpy()
    return values


def layout(lengths: Sequence[int], width: int) -> tuple[list[int], list[int]]:
    """How rows of ``lengths[i] + 1`` tokens and a table of ``width + 1`` columns map to each other.

    (for each packed token its place in the flat table, for each place of the table its packed
    token; places past a row's end repeat the row's last token).
    """
    source: list[int] = []
    spread: list[int] = []
    for row, length in enumerate(lengths):
        first = len(source)
        source.extend(range(row * (width + 1), row * (width + 1) + length + 1))
        spread.extend(first + min(column, length) for column in range(width + 1))
    return source, spread


def _taken(places: Sequence[int], *columns: Sequence[int]) -> list[list[int]]:
    """The entries of each column at ``places``; of an empty column, none."""
    return [[column[place] for place in places] if column else [] for column in columns]
