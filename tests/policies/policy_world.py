"""A predictor with closed-form costs, request views, and a bandit to play selectors on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from spinsim.costs.base import CONSTANT, Estimate
from spinsim.costs.contention import Contention, Factors
from spinsim.operations import Packing
from spinsim.policies.base import NO_DRAFT, CyclePlan, Feedback, PolicyContext, RequestView, Selector
from spinsim.policies.build import build_policies
from spinsim.scenario import PoliciesSpec, PolicyChoice


@dataclass
class LinearCosts:
    """Every operation: a constant plus slopes, so that tests can work costs out by hand."""

    step_s: Sequence[float] = (1e-3,) * 8
    verify_s: float = 10e-3
    verify_row_s: float = 0.0
    verify_query_s: float = 0.0
    verify_kv_s: float = 0.0
    step_row_s: float = 0.0
    catch_up_s: float = 0.0
    catch_up_token_s: float = 0.0
    host_s: float = 0.0
    hop_s: float = 0.0
    handling_s: dict[str, float] = field(default_factory=dict)  # by kind of the operation that ended

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        return Estimate(1e-5 * sum(tokens), CONSTANT)

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        return Estimate(self.catch_up_s + self.catch_up_token_s * sum(tokens), CONSTANT)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        steps = max(lengths)
        return Estimate(steps * (self.step_s[draft] + self.step_row_s * len(lengths)), CONSTANT)

    def verify(self, packing: Packing) -> Estimate:
        seconds = self.verify_s + self.verify_row_s * packing.rows
        seconds += self.verify_query_s * packing.query_tokens + self.verify_kv_s * packing.kv_tokens
        return Estimate(seconds, CONSTANT)

    def transfer(self, rows: int, tokens: int) -> Estimate:
        return Estimate(0.0, CONSTANT)

    def orchestrate(self, rows: int) -> Estimate:
        return Estimate(self.host_s, CONSTANT)

    def handle(self, kind: str, rows: int) -> Estimate:
        return Estimate(self.handling_s.get(kind, 0.0), CONSTANT)

    def hop(self) -> Estimate:
        return Estimate(self.hop_s, CONSTANT)

    def slowdown(self, draft: int, target_lane: bool) -> float:
        return 1.0

    def contention(self) -> Contention:
        return Contention(Factors(self.slowdown))


@dataclass
class Field:
    """Geometric runs: each draft's tokens are accepted with ``rate(request, draft, position)``."""

    rate: Callable[[int, int, int], float]
    tokens: int = 400
    source: str = "synthetic"
    kept: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def runs(self, request: int, draft: int) -> Sequence[int]:
        key = (request, draft)
        if key not in self.kept:
            stream = random.Random(request * 1009 + draft)
            hits = [stream.random() < self.rate(request, draft, i) for i in range(self.tokens + 40)]
            runs = [0] * (len(hits) + 1)
            for i in range(len(hits) - 1, -1, -1):
                runs[i] = runs[i + 1] + 1 if hits[i] else 0
            self.kept[key] = runs
        return self.kept[key]

    def forget(self, request: int) -> None:
        self.kept.pop((request, 0), None)


def context(drafts: int = 3, costs: LinearCosts | None = None, **changes: object) -> PolicyContext:
    names = tuple("abcdefgh"[:drafts])
    base = PolicyContext(
        drafts=names,
        draft_lanes=tuple(range(1, drafts + 1)),
        draft_sizes=tuple(range(10, 10 + drafts)),
        capacities=(None,) * drafts,
        allow_none=False,
        max_length=8,
        batch_limit=32,
        seed=0,
        predictor=costs or LinearCosts(),
        plan=CyclePlan(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def selector(name: str, within: PolicyContext, **params: object) -> Selector:
    spec = PoliciesSpec(selector=PolicyChoice(name=name, **params), allow_none=within.allow_none)
    return build_policies(spec, within).selector


def views(count: int, drafts: int = 3, prompt: int = 64) -> list[RequestView]:
    made = [RequestView(i, prompt, i, drafts) for i in range(count)]
    for view in made:
        view.generated = 1
    return made


def feedback(
    requests: Sequence[RequestView],
    drafts: Sequence[int],
    accepted: Sequence[int],
    *,
    length: int = 4,
    draft_s: Sequence[float] | None = None,
    round_s: float = 0.02,
) -> Feedback:
    lengths = [length if draft >= 0 else 0 for draft in drafts]
    times = draft_s or [0.004 if draft >= 0 else 0.0 for draft in drafts]
    return Feedback(requests, drafts, lengths, accepted, [a + 1 for a in accepted], times, round_s)


def play(
    policy: Selector,
    field: Field,
    costs: LinearCosts,
    requests: int,
    output: int,
    drafts: int,
    length: int = 4,
) -> tuple[float, list[list[int]]]:
    """Requests one after another, alone, as the engine would serve them with blocking switches.

    Returns tokens per second, and the arms each request played.
    """
    seconds, played = 0.0, []
    for request in range(requests):
        view = RequestView(request, 64, 0, drafts)
        view.generated = 1
        arms: list[int] = []
        while view.generated < output:
            (arm,) = policy.assign([view])
            draft_s = spent = 0.0
            hits = 0
            if arm != NO_DRAFT:
                missing = view.context - 1 - view.cached[arm]
                if missing > 1:
                    spent += costs.catch_up(arm, [missing], [view.cached[arm]]).seconds
                    if policy.full_information:
                        show(policy, field, view, arm, view.cached[arm], missing)
                draft_s = costs.propose(arm, [length], [view.context]).seconds
                hits = min(field.runs(request, arm)[view.generated], length)
                view.cached[arm] = view.context + (hits if hits < length else length - 1)
                view.draft = arm
            queries = 1 + (length if arm != NO_DRAFT else 0)
            kv = view.context + queries - 1
            spent += draft_s + costs.verify(Packing("ragged", 1, kv, queries, kv, queries, kv)).seconds
            tokens = min(hits + 1, output - view.generated)
            accepted = min(hits, output - view.generated)
            view.generated += tokens
            view.rounds += 1
            arms.append(arm)
            policy.observe(Feedback([view], [arm], [queries - 1], [accepted], [tokens], [draft_s], spent))
            if policy.full_information:
                miss = b"\x00" if accepted < length else b""
                policy.observe_hits(view, arm, b"\x01" * accepted + miss)
                for other in range(drafts):
                    behind = view.context - 1 - view.cached[other]
                    if other != arm and behind > 0:
                        show(policy, field, view, other, view.cached[other], behind)
                        view.cached[other] += behind
            seconds += spent
        policy.forget(request)
        played.append(arms)
    return requests * (output - 1) / seconds, played


def show(policy: Selector, field: Field, view: RequestView, draft: int, start: int, tokens: int) -> None:
    """What a catch-up tells a selector with full information."""
    runs = field.runs(view.id, draft)
    first, last = max(start - view.prompt_tokens, 0), max(start + tokens - view.prompt_tokens, 0)
    policy.observe_hits(view, draft, bytes(run > 0 for run in runs[first:last]))
