"""A head on a target: layers that draft from what the target computed, and run on the target's device.

EAGLE (Li et al., arXiv 2401.15077): the state that the target had at token t - 1 is joined with the
embedding of token t, and a decoder layer with K/V of its own predicts token t + 1. Later steps take the
head's own state in place of the target's. With ``parallel`` steps (P-EAGLE, PARD) one pass predicts all.

What is ours: weights are random, a stand-in. Every kernel runs at its cost, and what is proposed means
nothing. The first step takes in two tokens a row, as a model's does, where engines feed all that were
committed last.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from spinsim.buckets import USUAL
from spinsim.errors import InputError
from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.base import Progress, Runner
from spinsim.runner.batch import AttentionBatch
from spinsim.runner.eager import ModelRunner
from spinsim.runner.fused import LeanDecoder
from spinsim.runner.graphs.capture import Recorder
from spinsim.runner.graphs.proposals import Key, ProposalGraphs
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout, SlotCache
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows, DraftRows, Proposal
from spinsim.runner.sampling import GREEDY, Sampling

PLACEHOLDER = 8  # rows of a vocabulary that the target's takes the place of
JOIN_SD = 0.02


@dataclass(frozen=True, slots=True)
class LoadedHead(LoadedModel):
    """Its layers, and a vocabulary of ``rows`` tokens where it has one of its own (0: the target's)."""

    inputs: int = 2  # states that are joined, the token's embedding among them
    parallel: bool = False
    rows: int = 0

    @property
    def state_width(self) -> int:
        """What the target keeps of every token for it."""
        return int(self.config.hidden_size)


def random_head(
    target: LoadedModel,
    *,
    layers: int,
    inputs: int,
    parallel: bool,
    rows: int,
    context_tokens: int,
    seed: int,
    key: str,
) -> LoadedHead:
    """A head as wide as ``target``, on its device, with seeded random weights.

    Raises InputError where the head's vocabulary is larger than the target's.
    """
    if rows > target.used_vocabulary:
        raise InputError(
            f"{rows} tokens, but the target says {target.used_vocabulary}; at most so many",
            key=f"{key}.vocabulary",
        )
    config = copy.deepcopy(target.config)
    config.num_hidden_layers, config.vocab_size = layers, rows or PLACEHOLDER
    config.tie_word_embeddings = False
    config.pad_token_id = config.bos_token_id = config.eos_token_id = None
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:1] * layers
    module = target.module
    made = random_model(
        config,
        seed,
        context_tokens=context_tokens,
        dtype=module.dtype,
        device=module.device,
        name=f"{target.name} head",
        key=key,
    )
    return LoadedHead(made.module, made.config, made.name, inputs=inputs, parallel=parallel, rows=rows)


class HeadDecoder(LeanDecoder):
    """Implements :class:`~spinsim.runner.decoder.Decoder` with the target's states for every token.

    ``follows`` int64 ``[slots + 1]``: the target's slot of the request in each slot of the head.
    ``last`` ``[T, hidden]``: the states that the latest pass left, for :meth:`after`.
    """

    def __init__(
        self, head: LoadedHead, context_tokens: int, target: LeanDecoder, cache: SlotCache, slots: int
    ) -> None:
        """``target`` keeps its states from now on, for the tokens in its ``cache``."""
        super().__init__(head, context_tokens)
        weights, known = self.weights, target.weights
        if not head.rows:
            weights.head, weights.used = known.head, known.used
        weights.embedding = known.embedding
        hidden, made = weights.embedding.shape[1], weights.norm
        if target.states is None:
            places = (cache.pages + 1) * cache.page_tokens
            target.states = made.new_zeros(places, hidden)
        self._kept, self._table = target.states, cache.table
        self.joining = made.new_empty(hidden, head.inputs * hidden).normal_(0.0, JOIN_SD)
        self.others = head.inputs - 1
        self.follows = torch.zeros(slots + 1, dtype=torch.int64, device=self.device)
        self.last = self._given = made.new_zeros(1, hidden)

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See :class:`~spinsim.runner.decoder.Decoder`."""
        at = torch.arange(len(tokens), dtype=torch.int32, device=self.device)
        row = torch.searchsorted(batch.query_starts[1:].contiguous(), at, right=True)
        slot = batch.slots[row.clamp_max(len(batch.slots) - 1)].long()
        # Of the token before. Where the target has none, beyond the context, what lies there is as good.
        place = self._table.flat(self.follows[slot], (positions - 1).clamp_min(0))
        return self.after(self._kept[place], tokens, positions, batch, chosen)

    def after(
        self,
        states: torch.Tensor,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Likewise with ``states`` ``[T, hidden]`` of the tokens before."""
        self._given = states
        return super().__call__(tokens, positions, batch, chosen)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The states before the first layer."""
        return F.linear(torch.cat((super().embed(tokens), *[self._given] * self.others), 1), self.joining)

    def leave(self, x: torch.Tensor, batch: AttentionBatch) -> None:
        """For the next step."""
        self.last = x


class HeadProposals(ProposalGraphs):
    """Steps that hand their states on, within the graphs' own memory."""

    decoder: HeadDecoder

    def __init__(self, decoder: HeadDecoder, cache: SlotCache, recorder: Recorder, plan: RunnerPlan) -> None:
        super().__init__(decoder, cache, recorder, plan)
        self.states = decoder.weights.norm.new_zeros(self.rows, decoder.weights.norm.shape[0])

    def _logits(
        self,
        key: Key,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        ends: torch.Tensor | None,
    ) -> torch.Tensor:
        decoder, states = self.decoder, self.states[: key.rows]
        if ends is None:
            logits = decoder.after(states, tokens, positions, batch)
            states.copy_(decoder.last)
        else:
            logits = decoder(tokens, positions, batch, ends)
            states.copy_(decoder.last[ends])
        return logits


class HeadRunner(GraphedRunner):
    """Proposals and catch-ups of a head; greedy. Who calls says first whom the rows :meth:`follow`."""

    decoder: HeadDecoder

    def __init__(self, decoder: HeadDecoder, cache: SlotCache, plan: RunnerPlan, *, parallel: bool) -> None:
        super().__init__(decoder, cache, plan)
        self.parallel = parallel
        with torch.inference_mode():
            own = replace(plan, sampling=GREEDY, buckets=USUAL)
            self.proposals = HeadProposals(decoder, cache, self.recorder, own)
        pinned = cache.device.type == "cuda"
        self._follows = torch.zeros(cache.slots + 1, dtype=torch.int64, pin_memory=pinned)

    def follow(self, slots: Sequence[int], target_slots: Sequence[int]) -> None:
        """The requests in ``slots`` of the head are in ``target_slots`` of the target, from now on."""
        host = self._follows.numpy()
        if host[list(slots)].tolist() != list(target_slots):
            host[list(slots)] = target_slots
            self.decoder.follows.copy_(self._follows, non_blocking=True)

    @torch.inference_mode()
    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """See :class:`~spinsim.runner.base.Runner`."""
        return super().capture(role, kinds, progress, predict=predict or self.parallel)

    @torch.inference_mode()
    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """See :class:`~spinsim.runner.base.Runner`."""
        if not self.parallel:
            # Whatever the call's seed, which greedy steps do not read: an eager fallback knows no states.
            return self.proposals.propose(rows)
        lengths = rows.lengths
        # The last token stands for the mask that a trained head has for tokens which are not there yet.
        tails = zip(rows.previous, rows.last, lengths, strict=True)
        fed = [[previous, last, *[last] * (length - 1)] for previous, last, length in tails]
        said = self.catch_up(ChunkRows(rows.slots, [context - 2 for context in rows.contexts], fed))
        tokens, first = np.zeros((len(lengths), max(lengths)), np.int64), 1
        for row, length in enumerate(lengths):
            tokens[row, :length] = said[first : first + length]
            first += length + 1
        return Proposal(tokens)


def make_head_runner(
    head: LoadedHead, target: Runner, layout: Layout, plan: RunnerPlan, *, key: str = ""
) -> HeadRunner:
    """The runner of ``head``, whose ``target`` has captured nothing yet.

    Raises InputError where the target is no model of the LLaMA family on one device.
    """
    if not isinstance(target, ModelRunner) or not isinstance(target.decoder, LeanDecoder):
        raise InputError(
            "a head reads what its target computed; allowed is a target of the LLaMA family on one device",
            key=key,
        )
    shape = head.layers, head.kv_heads, head.head_dim
    cache = SlotCache.of(layout, *shape, device=target.device, dtype=target.dtype)
    decoder = HeadDecoder(head, cache.slot_tokens, target.decoder, target.cache, cache.slots)
    runner = HeadRunner(decoder, cache, plan, parallel=head.parallel)
    if not plan.graphs:
        runner.recorder.device = torch.device("cpu")  # passes are called then, and not captured
    return runner
