"""SPIN's pipelining (arXiv 2503.15921): more micro-batches, until throughput degrades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from spinsim.policies.base import PolicyContext, Tunable
from spinsim.policies.registry import PIPELINES


@PIPELINES.register("spin")
class SpinPipeline:
    """Measures committed tokens per second over windows of rounds and climbs.

    The paper increases the count and stops just before throughput degrades. Ours: throughput degrades
    where a depth yields less than (1 - ``tolerance``) of the best so far; where the way up brought nothing,
    the way down is tried alike; then the best depth is held. The climb resumes from there when the
    load changes: when the mean number of active requests, or the throughput, is off the held
    value by more than ``load_change`` for ``patience`` windows. A window is ``window_rounds`` rounds of each
    micro-batch; the first round of each after a change of depth is not counted.
    """

    @dataclass(frozen=True)
    class Params:
        max: Annotated[int, Ge(1), Le(64), Tunable(2, 12)] = 8
        start: Annotated[int, Ge(1), Le(64)] = 1
        window_rounds: Annotated[int, Ge(1), Tunable(4, 128, log=True)] = 16
        tolerance: Annotated[float, Ge(0), Le(0.5), Tunable(0, 0.1)] = 0.02
        load_change: Annotated[float, Gt(0), Le(1), Tunable(0.1, 1)] = 0.3
        patience: Annotated[int, Ge(1)] = 2

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._params = params
        self._max = min(params.max, context.batch_limit)
        self._depth = min(params.start, self._max)
        self._climb = _Climb(self._depth)
        self._held_active = 0.0
        self._held_rate = 0.0
        self._strange = 0  # windows in a row away from what was held
        self._skip = 0
        self._window = _Window()

    @property
    def max_depth(self) -> int:
        return self._max

    def depth(self) -> int:
        return self._depth

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        window = self._window
        if active == 0:
            window.restart(-1)  # idle until nobody knows when: the next commit begins a new window
            return
        if self._skip > 0:
            self._skip -= 1
            window.restart(now_ns)
            return
        window.add(now_ns, committed, active)
        if window.rounds >= self._params.window_rounds * self._depth and window.seconds > 0:
            rate, load = window.tokens / window.seconds, window.load / window.rounds
            window.restart(now_ns)
            self._decide(rate, load)

    def _decide(self, rate: float, load: float) -> None:
        params, climb = self._params, self._climb
        limit = max(1, min(self._max, int(load)))  # a micro-batch holds at least one request
        moved = abs(load - self._held_active) > params.load_change * self._held_active
        if climb.holding:
            moved |= abs(rate - self._held_rate) > params.load_change * self._held_rate
            self._strange = self._strange + 1 if moved else 0
            if self._strange < params.patience and self._depth <= limit:
                return
        if climb.holding or (climb.rates and moved):
            self._climb = climb = _Climb(min(self._depth, limit))
            if climb.depth != self._depth:
                self._change_depth()
                return
        if not climb.rates:
            self._held_active = load
        self._strange = 0
        climb.measured(self._depth, rate, params.tolerance, limit)
        if climb.holding:
            self._held_rate, self._held_active = climb.rates[climb.depth], load
        self._change_depth()

    def _change_depth(self) -> None:
        """To where the climb wants to measure."""
        if self._climb.depth != self._depth:
            self._skip = max(self._climb.depth, self._depth)
            self._depth = self._climb.depth


class _Window:
    """Tokens, rounds, time and load since it was restarted."""

    def __init__(self) -> None:
        self.restart(-1)

    def restart(self, now_ns: int) -> None:
        self.since_ns = self.now_ns = now_ns
        self.tokens = self.rounds = self.load = 0

    def add(self, now_ns: int, committed: int, active: int) -> None:
        if self.since_ns < 0:  # the first round's beginning is not known
            self.restart(now_ns)
            return
        self.now_ns = now_ns
        self.tokens += committed
        self.rounds += 1
        self.load += active

    @property
    def seconds(self) -> float:
        return (self.now_ns - self.since_ns) * 1e-9


class _Climb:
    """One ascent: ``depth`` is where to measure next, or to stay once ``holding``."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.rates: dict[int, float] = {}
        self.holding = False
        self._origin = depth
        self._step = 1

    def measured(self, depth: int, rate: float, tolerance: float, limit: int) -> None:
        """Enter a measurement and decide where to go."""
        self.rates[depth] = rate
        top = max(self.rates.values())
        degraded = rate < (1.0 - tolerance) * top
        if self._step > 0 and (degraded or depth >= limit):
            # Down only from the start, and only where the way up brought nothing.
            best = self._best()
            self._step = -1
            depth = self._origin
            if best != self._origin:
                self._hold(best)
                return
        elif self._step < 0 and degraded:
            self._hold(self._best())
            return
        following = depth + self._step
        if following < 1:
            self._hold(self._best())
        else:
            self.depth = following

    def _best(self) -> int:
        """The depth of the highest rate."""
        return max(self.rates, key=lambda depth: self.rates[depth])

    def _hold(self, depth: int) -> None:
        self.depth = depth
        self.holding = True
