"""What the planner takes to decide: host milliseconds a round, in simulation::

    python -m benchmarks.planning SCENARIO [--set KEY=VALUE ...]

The scenario's selector, length, pipeline and composition become ``planned``. A round waits for choosing
drafts and for learning from what came of them. Plans are made while the target verifies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.planner_time import planner_timed
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

KINDS = ("selector", "length", "packing", "pipeline", "composition")
PLANNED = [f"policies.{kind}={{name: planned}}" for kind in KINDS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    loaded = load(options.scenario, [*options.overrides, *PLANNED])
    with planner_timed(time.thread_time) as spent:
        simulate_scenario(loaded.scenario, loaded.base_dir)
    for what, one in spent.told().items():
        print(
            f"{one['rounds']} rounds, {what}: {one['ms_per_round']:.3f} ms a round; "
            f"a call p50 {one['call_p50_ms']:.3f}, p99 {one['call_p99_ms']:.2f} ms"
        )


if __name__ == "__main__":
    main()
