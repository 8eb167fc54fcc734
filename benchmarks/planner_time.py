"""What the planner takes of the host to decide, whichever world it plans for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np

from spinsim.policies.selectors.planned import Planned

Clock = Callable[[], float]  # seconds


@dataclass
class PlannerTime:
    """Seconds of each call: what a round waits for (choosing drafts, noting what came of them), and what is
    thought through while the target verifies."""

    choosing: list[float] = field(default_factory=list)
    noting: list[float] = field(default_factory=list)
    thinking: list[float] = field(default_factory=list)

    def told(self) -> dict[str, dict[str, float]]:
        """Milliseconds a round, and quantiles of a call; none where no planner planned."""
        rounds = len(self.choosing)
        if not rounds:
            return {}
        parts = {"waited for": [*self.choosing, *self.noting], "while the target verifies": self.thinking}
        found = {}
        for what, spent_s in parts.items():
            p50, p99, most = 1e3 * np.quantile(spent_s or [0.0], (0.5, 0.99, 1.0))
            mean = 1e3 * sum(spent_s) / rounds
            found[what] = {
                "rounds": rounds,
                "ms_per_round": float(mean),
                "call_p50_ms": float(p50),
                "call_p99_ms": float(p99),
                "call_most_ms": float(most),
            }
        return found


@contextmanager
def planner_timed(clock: Clock) -> Iterator[PlannerTime]:
    """Within it, planners note how long they take by ``clock``."""
    spent = PlannerTime()
    with (
        patch.object(Planned, "assign", _timed(Planned.assign, clock, spent.choosing)),
        patch.object(Planned, "observe", _timed(Planned.observe, clock, spent.noting)),
        patch.object(Planned, "thought", _timed_thought(clock, spent.thinking)),
    ):
        yield spent


def _timed(method: Callable[..., Any], clock: Clock, spent_s: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        begun = clock()
        result = method(*arguments)
        spent_s.append(clock() - begun)
        return result

    return call


def _timed_thought(clock: Clock, spent_s: list[float]) -> Callable[[Any], Any]:
    """``Planned.thought``, which notes how long it takes together with what it gives to think through."""
    asks = Planned.thought

    def ask(planned: Any) -> Any:
        begun = clock()
        thought = asks(planned)
        spent_s.append(clock() - begun)
        return None if thought is None else _timed(thought, clock, spent_s)

    return ask
