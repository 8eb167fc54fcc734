"""One simulation in a process of its own: what it took, as JSON.

python -m benchmarks.child SCENARIO OUT|- auto|python|native [key.path=value ...]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Generator
from pathlib import Path

import simpy

from spinsim.pages.run import write_report
from spinsim.results.folder import Additions
from spinsim.results.publish import publish
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

TIMEOUTS = 200_000


def user_s() -> float:
    """User CPU seconds of this process: a busy machine changes them less than the time of day."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def peak_mb() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def simpy_event_s() -> float:
    """User seconds of one timeout of simpy alone, here and now: the floor of a simulated event."""

    def wait(env: simpy.Environment) -> Generator[simpy.Event, None, None]:
        while True:
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(wait(env))
    begin = user_s()
    env.run(until=TIMEOUTS)
    return (user_s() - begin) / TIMEOUTS


def main(scenario: str, out: str, engine: str, *overrides: str) -> None:
    """Simulate, write the results folder where ``out`` names one, and tell."""
    event_s = simpy_event_s()
    begin, begin_wall = user_s(), time.perf_counter()
    loaded = load(Path(scenario), overrides)
    simulated = simulate_scenario(loaded.scenario, loaded.base_dir, engine=engine)
    simulated_s, simulated_mb = user_s() - begin, peak_mb()
    records = simulated.records
    if out != "-":
        publish(loaded, Path(out), simulated, mode="simulated", additions=Additions(report=write_report))
    told = {
        "simulate_s": simulated_s,
        "simulate_mb": simulated_mb,
        "total_s": user_s() - begin,
        "total_mb": peak_mb(),
        "wall_s": time.perf_counter() - begin_wall,
        "simpy_event_s": event_s,
        "requests": len(records.requests),
        "rounds": len(records.rounds.size),
        "rows": len(records.rounds.request),
        "operations": len(records.operations.lane),
        "traffic_s": records.ended_ns * 1e-9,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
