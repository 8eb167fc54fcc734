"""What one decision or one prediction costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import build_predictor
from spinsim.policies.base import Feedback, PolicyContext, RequestView
from spinsim.policies.build import build_policies
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
    """Every selector that does not see the future: to assign a batch, and to learn from its round."""
    context = _scenario_context(scenario)
    for name in SELECTORS.names():
        if not SELECTORS.get(name).sees_future:
            yield Micro(f"selector {name}", {rows: _selector_us(name, context, rows) for rows in ROWS})
    tight = {
        rows: _selector_us("spin", replace(context, capacities=(max(1, rows // 5),) * 5), rows)
        for rows in ROWS
    }
    yield Micro("selector spin, capacities bind", tight)


def _selector_us(name: str, context: PolicyContext, rows: int) -> float:
    selector = build_policies(PoliciesSpec(selector=PolicyChoice(name=name)), context).selector
    views = []
    for i, tokens in enumerate(contexts(rows)[0]):
        views.append(RequestView(i, tokens, 0, len(context.drafts)))
    rng = np.random.default_rng(rows)
    turns = cycle(rng.integers(0, LENGTH + 1, (BATCHES, rows)).tolist())

    def turn() -> None:
        drafts = selector.assign(views)
        accepted = next(turns)
        committed = [hits + 1 for hits in accepted]
        selector.observe(Feedback(views, drafts, [LENGTH] * rows, accepted, committed, [0.002] * rows, 0.01))
        for view, draft in zip(views, drafts, strict=True):
            view.draft = draft
            view.rounds += 1

    return call_us(turn)


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
