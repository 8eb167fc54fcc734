"""What the engine's thread does in a live round: ``python -m benchmarks.orchestrator SCENARIO [--set K=V]``.

The scenario is served by the live world's own code with its acceptance given, and by models that only take
time. So all that the engine's thread does in a round is there, and no kernel takes part. An operation keeps
the interpreter for ``--launch-us`` of its lane's thread, as launching kernels does, and the lane for
``--works-us`` more. Both are 0 by default: then the figures are about the engine's thread alone.

``cpu`` is that thread's own time, and ``orchestrator`` the wall time in which it does not wait for an input,
as a live run reports it. The first of several runs fills what policies and cost models cache.
``--by-function`` adds what cProfile says of the last one, whose own time is in its figures.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from spinsim.drafters.costs import build_predictor
from spinsim.drafters.for_scenario import lookups_of
from spinsim.live.field import given_acceptance, known_future
from spinsim.live.lookups import Lookups
from spinsim.live.paging import Paging
from spinsim.live.quiet_interpreter import quiet
from spinsim.live.world import LiveWorld
from spinsim.operations import CatchUp, Prefill, Propose, Verify
from spinsim.scenario_file import LoadedScenario, load
from spinsim.serving import assemble, trusting
from spinsim.workload.for_scenario import build_workload

VOCABULARY = 32_000
RUNS = 3
SHOWN = 40  # functions


class Answers:
    """Models that only take time: implements :class:`spinsim.live.world.Executor`."""

    def __init__(self, launch_s: float, works_s: float) -> None:
        self._launch_s, self._works_s = launch_s, works_s

    def _work(self) -> None:
        end = time.thread_time() + self._launch_s
        while time.thread_time() < end:
            pass
        if self._works_s:
            time.sleep(self._works_s)

    def set_up(self, lane: int) -> None:
        """Nothing is to be chosen."""

    def prefill(self, operation: Prefill, tokens: Sequence[Sequence[int]]) -> list[int]:
        """Token 1 after each chunk."""
        self._work()
        return [1] * len(tokens)

    def catch_up(
        self, operation: CatchUp, starts: Sequence[int], tokens: Sequence[Sequence[int]], predict: bool
    ) -> list[list[int]]:
        """Token 1 after each token."""
        self._work()
        return [[1] * len(row) for row in tokens]

    def propose(
        self, operation: Propose, positions: Sequence[int], tails: Sequence[tuple[int, int]]
    ) -> object:
        """Nothing that anybody reads."""
        self._work()
        return None

    def offer(self, found: Sequence[Sequence[int]]) -> object:
        """Nothing that anybody reads."""
        return None

    def verify(
        self, operation: Verify, last: Sequence[int], proposed: Sequence[Any], verdict: Any = None
    ) -> tuple[list[int], list[list[int]]]:
        """The verdict."""
        self._work()
        return verdict, [[1] * (accepted + 1) for accepted in verdict]


class Pages:
    """A runner as far as its pages go."""

    def hold(self, slots: Sequence[int], blocks: Sequence[Any]) -> None:
        """Nothing is laid."""


class Figures(NamedTuple):
    """Of a run: its rounds, and of a round operations, requests, and milliseconds (see above)."""

    rounds: int
    operations: float
    requests: float
    cpu_ms: float
    orchestrator_ms: float
    round_ms: float


def served(loaded: LoadedScenario, answers: Answers, profiler: cProfile.Profile | None = None) -> Figures:
    """One run of the scenario. Raises ValueError where its acceptance is not given."""
    scenario, base = loaded.scenario, loaded.base_dir
    workload = build_workload(scenario, base)
    given = given_acceptance(scenario, base, workload, VOCABULARY)
    if given is None:
        raise ValueError("these models accept nothing by themselves; `live: {acceptance: field}`")
    predictor = build_predictor(trusting(scenario), base)
    tokens = scenario.limits.batch * scenario.limits.context_tokens
    room = dict.fromkeys(("target", *scenario.models.drafts), tokens)
    serving = assemble(scenario, base, predictor, room, **known_future(given, workload))
    runner: Any = Pages()
    world = LiveWorld(
        serving.layout.lanes,
        answers,
        {request.id: [1] * request.prompt_tokens for request in workload.requests},
        scored_tokens=serving.policies.scored_tokens,
        paging=Paging(serving.pools, runner, list(repeat(runner, len(serving.settings.drafts)))),
        given=given,
        lookups=Lookups(lookups_of(scenario)),
    )
    engine = serving.start(world, workload, lookups=given.lookups)
    with quiet():
        world.env.start_clock()
        began = time.thread_time_ns()
        if profiler is not None:
            profiler.enable()
        world.env.run(until=engine.done)
        if profiler is not None:
            profiler.disable()
        spent_ns, elapsed_ns = time.thread_time_ns() - began, world.env.wall_ns()
    world.close()
    records = engine.records
    rounds = len(records.rounds.size)
    busy_ns = elapsed_ns - world.env.waited_ns
    milliseconds = (1e-6 * ns / rounds for ns in (spent_ns, busy_ns, elapsed_ns))
    a_round = len(records.operations.lane) / rounds, sum(records.rounds.size) / rounds
    return Figures(rounds, *a_round, *milliseconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--launch-us", type=float, default=0.0)
    parser.add_argument("--works-us", type=float, default=0.0)
    parser.add_argument("--by-function", action="store_true")
    chosen = parser.parse_args(arguments)
    loaded = load(chosen.scenario, chosen.changes)
    answers = Answers(1e-6 * chosen.launch_us, 1e-6 * chosen.works_us)
    for number in range(chosen.runs):
        profiler = cProfile.Profile() if chosen.by_function and number == chosen.runs - 1 else None
        found = served(loaded, answers, profiler)
        print(
            f"{found.rounds} rounds of {found.requests:.1f} requests and {found.operations:.2f} operations: "
            f"cpu {found.cpu_ms:.3f}, orchestrator {found.orchestrator_ms:.3f}, round {found.round_ms:.3f} ms"
        )
        if profiler is not None:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(SHOWN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
