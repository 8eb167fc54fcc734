"""``kind: head``: layers on top of the target's hidden states, which draft in the target's own lane.

EAGLE (Li et al., arXiv 2401.15077) and multi-token prediction (DeepSeek-V3, arXiv 2412.19437) draft in
``steps: sequential``, a pass a token. Parallel drafting (P-EAGLE, PARD) has one pass for all tokens.
A head is as wide as its target. It shares the target's head over the vocabulary unless it has a smaller
``vocabulary`` of its own, as EAGLE-3 does (arXiv 2503.01840).

Acceptance comes from the scenario's field. That holds live, too, where its weights are random
(:mod:`spinsim.runner.head`). Ours: the target's states of a context are kept for the head to catch up
from, and take memory beside its K/V.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np

from spinsim.buckets import bucket_tokens
from spinsim.costs.base import ASSUMED, CONSTANT, INTERPOLATED, ROOFLINE, Estimate
from spinsim.costs.for_scenario import target_hardware, target_shape
from spinsim.costs.memory import Placed
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import Point
from spinsim.costs.roofline import RooflineLoads, RooflinePredictor
from spinsim.costs.sheets.hardware import Hardware
from spinsim.costs.sheets.shapes import ModelShape, dtype_bytes
from spinsim.drafters.base import Drafter, DrafterCosts, refuse_live, stated_fit, stated_step
from spinsim.drafters.measured import law, points_of
from spinsim.drafters.registry import register
from spinsim.errors import InputError
from spinsim.scenario import ConstantCosts, RooflineCosts, Scenario, Section
from spinsim.scenario.base import NotNegative, PositiveInt

Steps = Literal["sequential", "parallel"]


class HeadFit(Section):
    """A published fit of whole proposals of ``length`` tokens.

    Seconds are base_s + token_s * tokens + kv_token_s * KV tokens. Tokens are those that all rows propose,
    KV tokens the contexts of all rows.
    """

    base_s: NotNegative = 0.0
    token_s: NotNegative = 0.0
    kv_token_s: NotNegative = 0.0
    length: PositiveInt


class HeadKeys(Section):
    """``inputs`` hidden states are joined before the first layer (EAGLE: the token's and the target's)."""

    layers: PositiveInt = 1
    steps: Steps = "sequential"
    vocabulary: PositiveInt | None = None  # None: the target's own head is used
    inputs: PositiveInt = 2
    fit: HeadFit | None = None  # None: by roofline, from the target's hardware


@register("head")
class HeadDrafter(Drafter):
    """A head of the target: EAGLE-like, or for multi-token prediction."""

    Keys = HeadKeys
    home = "target"

    def check(self, scenario: Scenario, base_dir: Path) -> None:
        """A fit belongs to the length at which it was measured. Raises InputError for one without."""
        if stated_fit(scenario, self.name) is not None:
            raise InputError(
                f"{self.name!r} is a head, whose cost depends on the length; give its fit with the length at "
                f"which it was measured, as {self.key}.fit",
                key=f"costs.drafts.{self.name}",
            )

    def check_live(self, scenario: Scenario) -> None:
        """Its weights are random: what they propose means nothing, and what is accepted must be given.

        Raises InputError where it is not, or where proposals are sampled.
        """
        if scenario.live.acceptance != "field":
            why = "a head has random weights, and runs live with live.acceptance: field alone"
            raise refuse_live(self, why)
        if not scenario.sampling.greedy:
            raise refuse_live(self, "a head proposes greedily, and runs live at sampling.temperature 0 alone")

    def shape(self, scenario: Scenario, base_dir: Path | None) -> ModelShape:
        """As wide as the target, with its own layers and vocabulary."""
        target, keys = target_shape(scenario, base_dir), self.keys
        vocab = keys.vocabulary or target.vocab
        return replace(target, name=f"{target.name} head", layers=keys.layers, vocab=vocab, experts=None)

    def parameters(self, scenario: Scenario, base_dir: Path) -> int:
        """Of its layers, what joins its inputs, and a vocabulary of its own."""
        shape = self.shape(scenario, base_dir)
        own = shape.parameters() - replace(shape, layers=0).parameters()
        own += int(self.keys.inputs) * shape.hidden**2
        return own + shape.hidden * shape.vocab if self.keys.vocabulary else own

    def placed(self, scenario: Scenario, base_dir: Path | None) -> Placed:
        """On the target's devices. It works within the target's workspace, of which it needs a part."""
        shape, dtype = self.shape(scenario, base_dir), scenario.models.target.dtype
        devices = scenario.placement.target
        share = -(-shape.kv_heads // len(devices)) / shape.kv_heads if shape.latent is None else 1.0
        return Placed(
            name=self.name,
            key=self.key,
            devices=devices,
            weights=self.parameters(scenario, base_dir or Path()) * dtype_bytes(dtype) / len(devices),
            kv_bytes=shape.kv_bytes_per_token(dtype) * share + shape.hidden * dtype_bytes(dtype),
            workspace=0.0,
            override=scenario.kv.draft_tokens,
            override_key="kv.draft_tokens",
        )

    def costs(self, scenario: Scenario, base_dir: Path | None) -> DrafterCosts:
        """Its fit, or a constant a step where costs are constant; what the profile has; or a roofline."""
        steps: Steps = self.keys.steps
        if self.keys.fit is not None:
            return FittedHead(self.keys.fit, steps)
        costs = scenario.costs
        if isinstance(costs, ConstantCosts):
            each = stated_step(scenario, self.name)
            if each is None:
                each = 0.0 if isinstance(costs.draft_step_s, dict) else costs.draft_step_s
            return ConstantHead(each, costs.catch_up_s, steps)
        points = points_of(scenario, base_dir, "head", self.measured_as(scenario, base_dir))
        if points:
            fed = points_of(scenario, base_dir, "head_catch_up", self.measured_as(scenario, base_dir))
            return MeasuredHead(points, fed, steps)
        sheets = costs if isinstance(costs, RooflineCosts) else RooflineCosts(model="roofline")
        passes = HeadPasses(
            self._priced_shape(scenario, base_dir),
            scenario.models.target.dtype,
            target_hardware(scenario),
            self.keys.inputs,
            devices=len(scenario.placement.target),
            graphs=sheets.graphs,
            efficiency=sheets.efficiency,
        )
        return RooflineHead(passes, steps)

    def measured_as(self, scenario: Scenario, base_dir: Path | None) -> str:
        """The ``kind`` of its points in a profile: all that its cost depends on."""
        shape, keys = self.shape(scenario, base_dir), self.keys
        own = f"vocabulary {shape.vocab}, {keys.layers} layers, {keys.inputs} inputs, {keys.steps}"
        return f"{target_shape(scenario, base_dir).name}/{scenario.models.target.dtype}: {own}"

    def _priced_shape(self, scenario: Scenario, base_dir: Path | None) -> ModelShape:
        """Raises InputError where passes of this shape have no cost model."""
        shape = self.shape(scenario, base_dir)
        why = shape.without_cost_model()
        if why:
            raise InputError(f"{shape.name} {why}; a fit, as {self.key}.fit", key=self.key)
        return shape


class ConstantHead:
    """So many seconds a pass, whatever its shape."""

    def __init__(self, step_s: float, catch_up_s: float, steps: Steps) -> None:
        self._step_s, self._catch_up_s, self._steps = step_s, catch_up_s, steps

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """A pass a token, or one for all."""
        return Estimate(self._step_s * _passes(self._steps, lengths), CONSTANT)

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """As that of models."""
        return Estimate(self._catch_up_s if any(tokens) else 0.0, CONSTANT)

    def load_of_proposal(self, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        """Nothing is known of it."""
        return 0.0, 0.0

    def load_of_catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        """Nothing is known of it."""
        return 0.0, 0.0


class FittedHead(ConstantHead):
    """A published fit, which holds at its own length. At others its scaling is an assumption, labelled so."""

    def __init__(self, fit: HeadFit, steps: Steps) -> None:
        super().__init__(0.0, 0.0, steps)
        self._fit = fit

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """At another length a sequential head takes as many times its base and K/V as it has passes."""
        fit, longest = self._fit, max(lengths, default=0)
        if not longest:
            return Estimate(0.0, INTERPOLATED)
        share = longest / fit.length if self._steps == "sequential" else 1.0
        seconds = share * (fit.base_s + fit.kv_token_s * sum(contexts)) + fit.token_s * sum(lengths)
        alike = longest == fit.length == min(lengths)
        return Estimate(seconds, INTERPOLATED if alike else ASSUMED)

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of its steps, since no fit of it is known."""
        if not any(tokens):
            return Estimate(0.0, INTERPOLATED)
        passes = self._fit.length if self._steps == "sequential" else 1
        each = (self._fit.base_s + self._fit.kv_token_s * (sum(starts) + sum(tokens))) / passes
        return Estimate(each + self._fit.token_s * sum(tokens), ASSUMED)


class MeasuredHead(ConstantHead):
    """By points of a profile: a proposal is linear in its passes, and these in rows and contexts."""

    def __init__(self, proposals: Sequence[Point], catch_ups: Sequence[Point], steps: Steps) -> None:
        super().__init__(0.0, 0.0, steps)
        self._proposal = law(proposals, [self._terms(**point.features) for point in proposals])
        self._fed = law(catch_ups, [_fed(**point.features) for point in catch_ups]) if catch_ups else None

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """Within what was measured and beyond, by the law."""
        longest, rows = max(lengths, default=0), sum(length > 0 for length in lengths)
        if not longest:
            return Estimate(0.0, INTERPOLATED)
        terms = self._terms(rows, longest, sum(compress(contexts, lengths)))
        return Estimate(float(np.dot(self._proposal, terms)), INTERPOLATED)

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """Likewise; a pass of its steps where catch-ups were not measured."""
        if not any(tokens):
            return Estimate(0.0, INTERPOLATED)
        if self._fed is None:
            return Estimate(self.propose([1] * len(tokens), starts).seconds, ASSUMED)
        read = sum(starts) + sum(tokens)
        return Estimate(float(np.dot(self._fed, _fed(len(tokens), sum(tokens), read))), INTERPOLATED)

    def _terms(self, rows: float, steps: float, kv_tokens: float) -> list[float]:
        passes = steps if self._steps == "sequential" else 1.0
        more = [] if self._steps == "sequential" else [rows * steps]
        return [1.0, passes, passes * rows, passes * kv_tokens, *more]


def _fed(rows: float, tokens: float, kv_tokens: float) -> list[float]:
    return [1.0, rows, tokens, kv_tokens]


class HeadPasses(PassCosts):
    """Passes that join several hidden states into one before the layers."""

    def __init__(
        self,
        shape: ModelShape,
        dtype: str,
        hardware: Hardware,
        inputs: int,
        *,
        devices: int,
        graphs: bool,
        efficiency: float | None,
    ) -> None:
        super().__init__(shape, dtype, hardware, devices=devices, graphs=graphs, efficiency=efficiency)
        self._inputs = inputs

    def body(self, tokens: int) -> float:
        """Layers, and the matrix that joins the inputs; each device has its rows of it."""
        hidden = self.shape.hidden
        return super().body(tokens) + self.product(tokens, self._inputs * hidden, -(-hidden // self.devices))


class RooflineHead:
    """Passes of the head's layers, what joins its inputs, and the head over the vocabulary."""

    def __init__(self, passes: HeadPasses, steps: Steps) -> None:
        self._passes, self._steps = passes, steps
        self._one_by_one = RooflinePredictor(passes, [passes], None)
        self._loads = RooflineLoads(self._one_by_one)

    def propose(self, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """A pass a token, the first over two tokens a row; or one over all of them."""
        if self._steps == "sequential" or not any(lengths):
            return self._one_by_one.propose(0, lengths, contexts)
        passes, drafted = self._passes, sum(lengths)
        rows = sum(length > 0 for length in lengths)
        tokens, logits = drafted + rows, drafted
        if passes.graphs:
            tokens, logits = bucket_tokens(tokens), bucket_tokens(logits)
        cached = sum(compress(contexts, lengths))
        pairs = sum((length + 1) * context for length, context in zip(lengths, contexts, strict=True))
        attention = passes.attention.seconds(cached + drafted, tokens, pairs)
        seconds = passes.overhead_s + passes.body(tokens) + passes.output(logits) + attention
        return Estimate(seconds, ROOFLINE)

    def catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass, or several; no position reaches the vocabulary."""
        return self._one_by_one.catch_up(0, tokens, starts)

    def load_of_proposal(self, lengths: Sequence[int], contexts: Sequence[int]) -> tuple[float, float]:
        """Kernels and work of its passes."""
        passes = _passes(self._steps, lengths)
        work_s = self.propose(lengths, contexts).seconds - passes * self._passes.overhead_s
        return float(passes * self._passes.kernels), max(0.0, work_s)

    def load_of_catch_up(self, tokens: Sequence[int], starts: Sequence[int]) -> tuple[float, float]:
        """Kernels and work of its passes."""
        return self._loads.catch_up(0, tokens, starts)


def _passes(steps: Steps, lengths: Sequence[int]) -> int:
    longest = max(lengths, default=0)
    return longest if steps == "sequential" else min(1, longest)
