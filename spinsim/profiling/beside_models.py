"""Drafters that are no models, measured as they run: lookups on the host, heads in the target's lane."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.costs.profiled.profile import Point
from spinsim.drafters.base import Drafter
from spinsim.drafters.for_scenario import drafters_of, lookups_of
from spinsim.drafters.head import HeadDrafter
from spinsim.live.lookups import Lookups
from spinsim.operations import Propose
from spinsim.profiling.bench import USUAL_LENGTH, Bench
from spinsim.profiling.timing import Effort, sampled, timing_of
from spinsim.runner.head import HeadRunner
from spinsim.runner.rows import ChunkRows, DraftRows
from spinsim.scenario import Scenario

ROUNDS = 16  # for which a lookup's contexts grow before they begin anew
STEP = 3  # tokens by which they do


def beside_models(
    bench: Bench,
    scenario: Scenario,
    base_dir: Path,
    lane_of: Callable[[int], int],
    rows: int,
    effort: Effort,
) -> Iterator[Point]:
    """Points of every lookup and head of ``scenario``, of up to ``rows`` rows.

    ``lane_of(draft)`` is the lane of a draft among the bench's.
    """
    runners = dict(zip(bench.deployment.models.drafts, bench.deployment.drafts, strict=True))
    sizes = sorted({1, max(1, rows // 4), max(1, rows // 2), rows})
    limits = scenario.limits
    longest = limits.context_tokens - limits.max_length - 1
    contexts = sorted({max(4, longest // 8), max(4, longest // 2), longest})
    for number, (name, drafter) in enumerate(drafters_of(scenario).items()):
        runner = runners.get(name)
        if drafter.lookup() is not None:
            yield from _lookup(bench, scenario, drafter, number, lane_of(number), sizes, contexts, effort)
        elif isinstance(drafter, HeadDrafter) and isinstance(runner, HeadRunner):
            kind = drafter.measured_as(scenario, base_dir)
            yield from _head(bench, runner, kind, limits.max_length, sizes, contexts, effort)


def _lookup(
    bench: Bench,
    scenario: Scenario,
    drafter: Drafter,
    number: int,
    lane: int,
    sizes: list[int],
    contexts: list[int],
    effort: Effort,
) -> Iterator[Point]:
    used = bench.deployment.models.target.used_vocabulary
    draw = np.random.default_rng(0)
    phrases = [draw.integers(used, size=draw.integers(4, 20)).tolist() for _ in range(200)]
    length = min(USUAL_LENGTH, scenario.limits.max_length)
    for rows in sizes:
        for context in sorted({max(2, context - STEP * ROUNDS) for context in contexts}):
            texts = []
            for _ in range(rows):
                text: list[int] = []
                while len(text) < context + STEP * ROUNDS:
                    text += phrases[draw.integers(len(phrases))]
                texts.append(array("i", text))
            lookups = Lookups({number: lookups_of(scenario)[number]})
            requests = list(range(rows))
            turns = cycle(range(ROUNDS))

            def once() -> float:
                held = context + STEP * next(turns)  # noqa: B023
                known = [text[:held] for text in texts]  # noqa: B023
                operation = Propose(number, requests, requests, [held] * rows, [length] * rows)  # noqa: B023

                def look_up() -> Any:
                    return bench.executor.offer(lookups.propose(operation, known))  # noqa: B023

                _verification(bench, rows, held)  # noqa: B023
                return bench.stamps(lane, "lookup", look_up).seconds

            timing = timing_of(sampled(once, effort))
            features = {"rows": float(rows), "kv_tokens": float(rows * (context + STEP * ROUNDS // 2))}
            yield _point("lookup", drafter.kind, timing, features)


def _head(
    bench: Bench,
    runner: HeadRunner,
    kind: str,
    longest: int,
    sizes: list[int],
    contexts: list[int],
    effort: Effort,
) -> Iterator[Point]:
    lane = bench.target_lane
    for rows in sizes:
        slots = list(range(rows))
        runner.follow(slots, slots)
        for context in contexts:
            held = [context] * rows

            def timed(call: Callable[[], Any]) -> Callable[[], float]:
                def once() -> float:
                    _verification(bench, rows, context)  # noqa: B023
                    return bench.stamps(lane, "head", call).seconds

                return once

            for steps in sorted({1, 2, min(USUAL_LENGTH, longest), longest}):

                def propose() -> Any:
                    ones = [1] * rows  # noqa: B023
                    return runner.propose(DraftRows(slots, ones, ones, held, [steps] * rows))  # noqa: B023

                features = {"rows": float(rows), "steps": float(steps), "kv_tokens": float(rows * context)}
                yield _point("head", kind, timing_of(sampled(timed(propose), effort)), features)
        for new in sorted({4, min(64, contexts[-1])}):

            def catch_up() -> Any:
                return runner.catch_up(ChunkRows(slots, [0] * rows, [[1] * new] * rows), False)  # noqa: B023

            context = contexts[0]
            fed = float(rows * new)
            features = {"rows": float(rows), "tokens": fed, "kv_tokens": fed}
            yield _point("head_catch_up", kind, timing_of(sampled(timed(catch_up), effort)), features)


def _verification(bench: Bench, rows: int, context: int) -> None:
    """What comes before a proposal in a serial round."""
    bench.stamps(*bench.usual(False, rows, context))


def _point(operation: str, kind: str, timing: Any, features: dict[str, float]) -> Point:
    return Point(operation, timing.seconds, timing.spread_s, timing.repetitions, features, kind=kind)
