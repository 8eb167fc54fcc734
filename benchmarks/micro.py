"""What one decision or one prediction costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import build_predictor
from spinsim.policies.base import Feedback, PolicyContext, RequestView
from spinsim.policies.build import build_policies
from spinsim.policies.contextual.survival import MATCHES, SCHEMA, Classes, Survival
from spinsim.policies.registry import PACKINGS, SELECTORS
from spinsim.scenario import PoliciesSpec, PolicyChoice
from spinsim.scenario_file import load

REPEATS, SECONDS = 7, 0.02
ROWS = (1, 8, 32)
LENGTH = 4
BATCHES = 64


class Micro(NamedTuple):
    """Microseconds of one call by number of rows."""

    name: str
    call_us: dict[int, float]


def call_us(call: Callable[[], object]) -> float:
    """Median over repeats of the CPU time of one call, in microseconds."""
    number, spent = 1, 0.0
    while spent < SECONDS:
        number *= 2
        spent = _timed(call, number)
    return median(_timed(call, number) for _ in range(REPEATS)) / number * 1e6


def _timed(call: Callable[[], object], number: int) -> float:
    begin = time.process_time()
    for _ in range(number):
        call()
    return time.process_time() - begin


def contexts(rows: int) -> list[list[int]]:
    """Successive batches: skewed lengths that grow by three tokens a round."""
    drawn = np.exp(np.random.default_rng(rows).normal(np.log(700), 0.9, rows)).astype(int)
    first = [int(tokens) for tokens in np.clip(drawn, 16, 8000)]
    return [[tokens + 3 * turn for tokens in first] for turn in range(BATCHES)]


def predictions(scenario: Path) -> Iterator[Micro]:
    """Every question to the scenario's predictor."""
    loaded = load(scenario)
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    name = loaded.scenario.costs.model
    context = _context(len(loaded.scenario.models.drafts), predictor)
    plan = build_policies(PoliciesSpec(), context).packing.plan
    questions: dict[str, Callable[[list[int]], object]] = {
        "propose, lengths alike": lambda kv: predictor.propose(0, [LENGTH] * len(kv), kv),
        "propose, lengths apart": lambda kv: predictor.propose(
            0, [1 + i % LENGTH for i in range(len(kv))], kv
        ),
        "verify, packed ragged": lambda kv: predictor.verify(plan(kv, [LENGTH + 1] * len(kv))),
        "catch-up": lambda kv: predictor.catch_up(0, [64] * len(kv), kv),
        "prefill": lambda kv: predictor.prefill([256] * len(kv), kv),
    }
    for what, ask in questions.items():
        yield Micro(f"{name}: {what}", {rows: _over_batches(ask, rows) for rows in ROWS})


def packings(scenario: Path) -> Iterator[Micro]:
    """Every packing, planning batch after batch."""
    context = _scenario_context(scenario)
    for name in PACKINGS.names():
        by_rows = {}
        for rows in ROWS:
            policies = build_policies(PoliciesSpec(packing=PolicyChoice(name=name)), context)
            plan, queries = policies.packing.plan, [LENGTH + 1] * rows
            by_rows[rows] = _over_batches(lambda kv, plan=plan, queries=queries: plan(kv, queries), rows)  # type: ignore[misc]
        yield Micro(f"packing {name}", by_rows)


def selectors(scenario: Path) -> Iterator[Micro]:
    """Every selector that does not see the future: to assign a batch and to learn from its round, which is
    waited for; and what it thinks through while the target verifies, where it does."""
    context = _scenario_context(scenario)
    for name in SELECTORS.names():
        if not SELECTORS.get(name).sees_future:
            yield from _selector(f"selector {name}", PolicyChoice(name=name), context)
    exploring = PolicyChoice.model_validate({"name": "contextual", "temper": 1.0, "explore": 0.5})
    two = replace(context, trained=_two_kinds(context))
    yield from _selector("selector contextual, exploring two kinds", exploring, two)
    tight = {
        rows: _selector_us(
            PolicyChoice(name="spin"), replace(context, capacities=(max(1, rows // 5),) * 5), rows
        )[0]
        for rows in ROWS
    }
    yield Micro("selector spin, capacities bind", tight)


def _selector(what: str, choice: PolicyChoice, context: PolicyContext) -> Iterator[Micro]:
    found = {rows: _selector_us(choice, context, rows) for rows in ROWS}
    yield Micro(what, {rows: waited for rows, (waited, _) in found.items()})
    if any(thought for _, thought in found.values()):
        yield Micro(
            f"{what}: while the target verifies", {rows: thought for rows, (_, thought) in found.items()}
        )


def _two_kinds(context: PolicyContext) -> dict[str, Any]:
    """Counts as training writes them: even drafts are right in one kind of text, odd ones in the other."""
    drafts = {}
    for number, name in enumerate(context.drafts):
        survival = Survival(context.max_length, 2)
        for kind in range(2):
            weights = np.eye(2)[[kind] * 50]
            classes = Classes(np.zeros(50, int), np.zeros(50, int))
            right = LENGTH if number % 2 == kind else 0
            survival.observe(np.zeros(50, int), classes, [right] * 50, [LENGTH] * 50, weights)
        drafts[name] = survival.state()
    return {"schema": SCHEMA, "matches": [[1.0] * (len(MATCHES) + 1)] * 2, "drafts": drafts}


def _selector_us(choice: PolicyChoice, context: PolicyContext, rows: int) -> tuple[float, float]:
    """Microseconds of a round that are waited for, and that are not: medians over repeats of the mean."""
    selector = build_policies(PoliciesSpec(selector=choice), context).selector
    thought = getattr(selector, "thought", lambda: None)
    views = []
    for i, tokens in enumerate(contexts(rows)[0]):
        views.append(RequestView(i, tokens, 0, len(context.drafts)))
    rng = np.random.default_rng(rows)
    accepted_by_turn = cycle(rng.integers(0, LENGTH + 1, (BATCHES, rows)).tolist())

    def turn() -> tuple[float, float]:
        begin = time.process_time()
        drafts = selector.assign(views)
        assigned = time.process_time()
        thinking = thought()
        if thinking is not None:
            thinking()
        thought_s = time.process_time() - assigned
        accepted = next(accepted_by_turn)
        committed = [hits + 1 for hits in accepted]
        feedback = Feedback(views, drafts, [LENGTH] * rows, accepted, committed, [0.002] * rows, 0.01)
        told = time.process_time()
        selector.observe(feedback)
        waited_s = assigned - begin + time.process_time() - told
        for view, draft in zip(views, drafts, strict=True):
            view.draft = draft
            view.rounds += 1
        return waited_s, thought_s if thinking is not None else 0.0

    sums = []
    for _ in range(REPEATS + 1):  # the first is to warm up
        spent = np.zeros(2)
        turns = 0
        while spent.sum() < SECONDS:
            spent += turn()
            turns += 1
        sums.append(spent / turns * 1e6)
    waited, thought_us = np.median(sums[1:], 0).tolist()
    return waited, thought_us


def _over_batches(call: Callable[[list[int]], object], rows: int) -> float:
    batches = cycle(contexts(rows))
    return call_us(lambda: call(next(batches)))


def _scenario_context(scenario: Path) -> PolicyContext:
    loaded = load(scenario)
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    return _context(len(loaded.scenario.models.drafts), predictor)


def _context(drafts: int, predictor: Predictor) -> PolicyContext:
    return PolicyContext(
        drafts=tuple(f"draft{i}" for i in range(drafts)),
        draft_lanes=(1,) * drafts,
        draft_sizes=tuple(range(1, drafts + 1)),
        capacities=(None,) * drafts,
        allow_none=False,
        max_length=8,
        batch_limit=64,
        seed=0,
        predictor=predictor,
    )
