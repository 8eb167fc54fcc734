"""What the planner takes to decide: host milliseconds a round, in simulation::

    python -m benchmarks.planning SCENARIO [--set KEY=VALUE ...]

The scenario's selector, length, pipeline and composition become ``planned``. A round waits for choosing
drafts and for learning from what came of them. Plans are made while the target verifies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from spinsim.policies.selectors.planned import Planned
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

KINDS = ("selector", "length", "packing", "pipeline", "composition")
PLANNED = [f"policies.{kind}={{name: planned}}" for kind in KINDS]


def timed(method: Callable[..., Any], spent_s: list[float]) -> Callable[..., Any]:
    """The method, which notes in ``spent_s`` how long each call takes."""

    def call(*arguments: Any) -> Any:
        begun = time.thread_time()
        result = method(*arguments)
        spent_s.append(time.thread_time() - begun)
        return result

    return call


def timed_thought(spent_s: list[float]) -> Callable[[Any], Any]:
    """``Planned.thought``, which notes how long it takes together with what it gives to think through."""
    asks = Planned.thought

    def ask(planned: Any) -> Any:
        begun = time.thread_time()
        thought = asks(planned)
        spent_s.append(time.thread_time() - begun)
        return None if thought is None else timed(thought, spent_s)

    return ask


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    loaded = load(options.scenario, [*options.overrides, *PLANNED])
    choosing: list[float] = []
    learning: list[float] = []
    thinking: list[float] = []
    with (
        patch.object(Planned, "assign", timed(Planned.assign, choosing)),
        patch.object(Planned, "observe", timed(Planned.observe, learning)),
        patch.object(Planned, "thought", timed_thought(thinking)),
    ):
        simulate_scenario(loaded.scenario, loaded.base_dir)
    rounds = len(choosing)
    for what, spent_s in (("waited for", [*choosing, *learning]), ("while the target verifies", thinking)):
        p50, p99 = 1e3 * np.quantile(spent_s, (0.5, 0.99))
        mean = 1e3 * sum(spent_s) / rounds
        print(f"{rounds} rounds, {what}: {mean:.3f} ms a round; a call p50 {p50:.3f}, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
