"""Costs from hardware sheets and model shapes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from operator import add, mul

from spinsim.buckets import (
    LONG_QUERY,
    PROMPT_TOKENS,
    active_rows,
    bucket_kv,
    bucket_rows,
    bucket_tokens,
    prompt_shape,
)
from spinsim.costs.base import ROOFLINE, Estimate, UniformHost
from spinsim.costs.contention import USUAL_LAW, Contention, Factors
from spinsim.costs.links import Link
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.executed import in_passes
from spinsim.operations import Packing, named
from spinsim.packings import packing_kind

_NOTHING = Estimate(0.0, ROOFLINE)
# Medians of what a 13B over two H200s and each of five drafts made of each other (docs/sharded.md).
TARGET_BESIDE, DRAFT_BESIDE = 1.15, 1.8


class RooflinePredictor(UniformHost):
    """Launch overhead plus a sum over operators of max(bytes / bandwidth, flops / rate).

    ``target`` and ``drafts`` are models on their devices. Shapes are rounded up to buckets where a
    model runs from CUDA graphs. The layers see each query token once; padded and replicated queries
    exist in attention alone, whose K/V are those of the executed shape: rows * piece for a rectangular
    packing, the true sum for others. A pass of many new tokens waits for its longest row, and one of divided
    rows for a piece (:class:`~spinsim.costs.operators.PassCosts`). ``link`` is what proposals cross;
    ``slowdown_factor`` the mutual slow-down of the target and a draft, both busy on one GPU; None: as the law
    of contention has it.
    """

    native = "roofline"

    def __init__(
        self,
        target: PassCosts,
        drafts: Sequence[PassCosts],
        link: Link | None,
        slowdown_factor: float | None = None,
    ) -> None:
        self._target = target
        self._drafts = tuple(_DraftCosts(draft) for draft in drafts)
        self.link = link
        self._slowdown = slowdown_factor
        self._hop = Estimate(target.hardware.hop_s, ROOFLINE)
        self._orchestrate: dict[int, Estimate] = {}
        self._transfers: dict[int, Estimate] = {}  # by tokens
        self._fixed: dict[int, float] = {}  # verification without attention, by query tokens asked for

    def of_large_operators(self) -> RooflinePredictor:
        """The same models, as :meth:`~spinsim.costs.operators.PassCosts.of_large_operators` prices them."""
        drafts = [draft.model.of_large_operators() for draft in self._drafts]
        return RooflinePredictor(self._target.of_large_operators(), drafts, self.link, self._slowdown)

    def of_work(self) -> RooflinePredictor:
        """The same models, as :meth:`~spinsim.costs.operators.PassCosts.of_work` prices them."""
        drafts = [draft.model.of_work() for draft in self._drafts]
        return RooflinePredictor(self._target.of_work(), drafts, self.link, self._slowdown)

    @property
    def target_costs(self) -> PassCosts:
        """Of the target's passes."""
        return self._target

    @property
    def draft_costs(self) -> tuple[PassCosts, ...]:
        """Of each draft's passes."""
        return tuple(draft.model for draft in self._drafts)

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of the target, or several; only each row's last position reaches the head."""
        return self._prompts(self._target, tokens, starts, head=True)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of a draft, or several. No position reaches the head.

        (It does where a selector asks what the draft would have proposed; that is not charged.)
        """
        return self._prompts(self._drafts[draft].model, tokens, starts, head=False)

    def _prompts(
        self, model: PassCosts, tokens: Sequence[int], starts: Sequence[int], *, head: bool
    ) -> Estimate:
        if not any(tokens):
            return _NOTHING
        ask = partial(_prompt_pass, model, head=head)
        several = model.graphs and sum(tokens) > PROMPT_TOKENS
        seconds = in_passes(ask, tokens, starts).seconds if several else ask(tokens, starts).seconds
        return Estimate(model.operation_s + seconds, ROOFLINE)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """max(lengths) steps; the first takes in up to two tokens a row, the others one."""
        costs = self._drafts[draft]
        seconds = costs.propose(lengths, contexts)
        return named(Estimate, (costs.model.operation_s + seconds if seconds else 0.0, ROOFLINE))

    def verify(self, packing: Packing) -> Estimate:
        """One pass of the target over the packing's executed query tokens and KV tokens."""
        target = self._target
        kind, rows, piece, queries, kv, real_queries, _ = packing
        if not rows:
            return _NOTHING
        fixed = self._fixed.get(real_queries)
        if fixed is None:
            fixed = self._fixed[real_queries] = self._verify_fixed(real_queries)
        packed = packing_kind(kind)
        if packed.rectangular and target.graphs:
            kv = bucket_rows(rows) * bucket_kv(piece)
        # Rows carry alike many queries, or nearly: pairs = queries a row times KV tokens.
        if target.windowed:
            kv = round(rows * target.seen(kv / rows))
        law = target.attention
        memory = law.kv_s * kv + law.query_s * queries
        compute = law.pair_s * kv * queries / rows
        attention = memory if memory > compute else compute
        if packed.merged:
            waited = target.row_s * (target.seen(piece) if target.windowed else piece)
            attention = waited if waited > attention else attention
        seconds = fixed + attention
        if packed.merged and queries > real_queries:
            seconds += target.merge_s(queries)
        return named(Estimate, (seconds, ROOFLINE))

    def _verify_fixed(self, queries: int) -> float:
        target = self._target
        executed = bucket_tokens(queries) if target.graphs else queries
        return target.operation_s + target.overhead_s + target.body(executed) + target.output(executed)

    def transfer(self, rows: int, tokens: int) -> Estimate:
        """``tokens`` proposed tokens in all, of ``rows`` requests; nothing when no link is crossed."""
        if self.link is None or not rows:
            return _NOTHING
        cached = self._transfers.get(tokens)
        if cached is None:
            cached = self._transfers[tokens] = Estimate(self.link.seconds(rows, tokens), ROOFLINE)
        return cached

    def orchestrate(self, rows: int) -> Estimate:
        """Host time of the orchestrator for one completion."""
        cached = self._orchestrate.get(rows)
        if cached is None:
            hardware = self._target.hardware
            seconds = hardware.handle_s + rows * hardware.handle_row_s
            cached = self._orchestrate[rows] = Estimate(seconds, ROOFLINE)
        return cached

    def hop(self) -> Estimate:
        """Between the engine's thread and a lane's worker, one way."""
        return self._hop

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """The same for all; where none was given, what planners may reckon with."""
        if self._slowdown is not None:
            return self._slowdown
        return TARGET_BESIDE if target_lane else DRAFT_BESIDE

    def contention(self) -> Contention:
        """The usual law. A factor that was given counts for the target and drafts beside each other."""
        law = USUAL_LAW if self._slowdown is None else Factors(self.slowdown, USUAL_LAW)
        return Contention(law, RooflineLoads(self))


class RooflineLoads:
    """Kernels and work of operations, by the sheets and shapes of a roofline.

    Implements :class:`spinsim.costs.contention.Loads`. Work is what a roofline says beyond the launches: one
    of large operators, with which the law of contention was fitted, whatever share passes reach. A device
    that waits for others in a sum does no work.
    """

    native = "roofline"

    def __init__(self, roofline: RooflinePredictor) -> None:
        self._roofline = roofline = roofline.of_work()
        self.target_costs = self._target = roofline.target_costs
        self.draft_costs = self._drafts = roofline.draft_costs

    def verify(self, packing: Packing) -> tuple[float, float]:
        """One pass of the target."""
        return _load(self._target, 1, self._roofline.verify(packing))

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        """As many passes of the draft as the longest row has tokens."""
        found = self._roofline.propose(draft, lengths, contexts)
        return _load(self._drafts[draft], max(lengths, default=0), found)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        """As many passes of the draft as its graphs take."""
        model = self._drafts[draft]
        return _load(
            model, _prompt_passes(model, sum(tokens)), self._roofline.catch_up(draft, tokens, starts)
        )

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        """As many passes of the target as its graphs take."""
        target = self._target
        return _load(target, _prompt_passes(target, sum(tokens)), self._roofline.prefill(tokens, starts))


def _prompt_pass(model: PassCosts, tokens: Sequence[int], starts: Sequence[int], *, head: bool) -> Estimate:
    rows, total = prompt_shape(len(tokens), sum(tokens), model.graphs)
    attention = _causal(model, tokens, starts)
    if total >= LONG_QUERY and model.row_s:
        waited = model.row_s * model.seen(max(map(add, starts, tokens)))
        attention = waited if waited > attention else attention
    seconds = model.overhead_s + model.body(total) + attention
    return Estimate(seconds + model.output(rows) if head else seconds, ROOFLINE)


def _load(model: PassCosts, passes: int, found: Estimate) -> tuple[float, float]:
    return float(passes * model.kernels), max(0.0, found.seconds - passes * model.overhead_s)


def _prompt_passes(model: PassCosts, tokens: int) -> int:
    return -(-tokens // PROMPT_TOKENS) if model.graphs else 1


def _causal(model: PassCosts, tokens: Sequence[int], starts: Sequence[int]) -> float:
    """Attention of new tokens to the cached ones and, causally, to each other."""
    law = model.prompt_attention
    if model.windowed:
        return _causal_within(model, tokens, starts)
    if len(tokens) == 1:
        new, start = tokens[0], starts[0]
        return law.seconds(start + new, new, new * start + new * (new + 1) // 2)
    total = sum(tokens)
    pairs = sum(map(mul, tokens, starts)) + (sum(map(mul, tokens, tokens)) + total) // 2
    return law.seconds(sum(starts) + total, total, pairs)


def _causal_within(model: PassCosts, tokens: Sequence[int], starts: Sequence[int]) -> float:
    """As :func:`_causal`, of a model whose windows hide the beginning of long contexts.

    A new token is charged what its context's middle sees: exact where contexts lie on one side of the window.
    """
    seen = [model.seen(start + new / 2) for new, start in zip(tokens, starts, strict=True)]
    read = sum(model.seen(start + new) for new, start in zip(tokens, starts, strict=True))
    return model.prompt_attention.seconds(read, sum(tokens), sum(map(mul, tokens, seen)))


class _DraftCosts:
    """Proposals of one draft. Steps without attention are tabled by executed rows."""

    def __init__(self, model: PassCosts) -> None:
        self.model = model
        law = model.attention
        # A row of q queries: max(memory, compute) of its cached K/V, as seconds per KV token.
        self._kv_first = max(law.kv_s, 2 * law.pair_s)
        self._kv_later = max(law.kv_s, law.pair_s)
        self._steps: dict[tuple[int, bool], float] = {}
        self._equal: dict[tuple[int, int], float] = {}

    def _step(self, rows: int, first: bool) -> float:
        """One step of ``rows`` rows, attention to cached tokens apart."""
        known = self._steps.get((rows, first))
        if known is None:
            model = self.model
            executed = bucket_rows(rows) if model.graphs else rows
            queries = 2 * executed if first else executed
            known = model.overhead_s + model.body(queries) + model.output(executed)
            known += model.attention.query_s * queries
            self._steps[rows, first] = known
        return known

    def _all_steps(self, rows: int, steps: int) -> float:
        """``steps`` steps of ``rows`` rows each, and the K/V of the tokens proposed before each."""
        grown = rows * (steps * (steps - 1) // 2)
        return self._step(rows, True) + (steps - 1) * self._step(rows, False) + self._kv_later * grown

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> float:
        rows = len(lengths)
        if not rows:
            return 0.0
        if self.model.windowed:
            contexts = [round(self.model.seen(context)) for context in contexts]
        steps = lengths[0]
        if rows == 1 or lengths.count(steps) == rows:
            if steps == 0:
                return 0.0
            fixed = self._equal.get((rows, steps))
            if fixed is None:
                fixed = self._equal[rows, steps] = self._all_steps(rows, steps)
            return fixed + (self._kv_first + (steps - 1) * self._kv_later) * sum(contexts)
        return self._unequal(lengths, contexts)

    def _unequal(self, lengths: Sequence[int], contexts: Sequence[int]) -> float:
        seconds, first, grown = 0.0, True, 0
        for step, rows in enumerate(active_rows(lengths)):
            seconds += self._step(rows, first)
            first = False
            grown += step * rows
        cached: int = sum(map(mul, lengths, contexts))
        begun = sum(compress(contexts, lengths))
        return seconds + self._kv_later * (cached + grown - begun) + self._kv_first * begun
