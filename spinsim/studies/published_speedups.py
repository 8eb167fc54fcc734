"""Speed-ups over autoregressive decoding of a recorded drafter, by batch and proposal length.

``python -m spinsim.studies.published_speedups [SCENARIO]`` prints them for
``scenarios/specdecode-bench.yaml`` or another scenario of recorded acceptance over copies of its requests.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from spinsim.errors import InputError
from spinsim.results.summary import summarise
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

BATCHES = (1, 8, 32, 64, 128)
LENGTHS = (1, 3, 5)


class SpeedUp(NamedTuple):
    """Of one drafter at one batch and proposal length; seconds are those of all requests."""

    draft: str
    batch: int
    length: int
    speed_up: float
    acceptance_length: float
    seconds: float


def speed_ups(
    path: Path,
    batches: Sequence[int] = BATCHES,
    lengths: Sequence[int] = LENGTHS,
    overrides: Sequence[str] = (),
    report: Callable[[SpeedUp], None] = lambda row: None,
) -> list[SpeedUp]:
    """Every drafter of the scenario, batch and length. Raises InputError as a simulation does."""
    rows = []
    for batch in batches:
        copies = [
            *overrides,
            f"workload.arrivals={{process: closed, concurrency: {batch}}}",
            f"workload.source.copies={batch}",
            f"limits.batch={batch}",
        ]
        plain, _ = _decoded(path, [*copies, "policies.selector={name: fixed, draft: none}", _length(0)])
        for draft in load(path, copies).scenario.models.drafts:
            for length in lengths:
                chosen = f"policies.selector={{name: fixed, draft: {draft}}}"
                seconds, accepted = _decoded(path, [*copies, chosen, _length(length)])
                row = SpeedUp(draft, batch, length, plain / seconds, accepted, seconds)
                rows.append(row)
                report(row)
    return rows


def _length(tokens: int) -> str:
    return f"policies.length={{name: fixed, tokens: {tokens}}}" if tokens else "policies.length={name: none}"


def _decoded(path: Path, overrides: Sequence[str]) -> tuple[float, float]:
    """(seconds, acceptance length) of a scenario."""
    loaded = load(path, overrides)
    done = simulate_scenario(loaded.scenario, loaded.base_dir)
    summary = summarise(
        done.records, loaded.scenario, mode="simulated", acceptance_source=done.acceptance_source
    )
    return summary["run"]["duration_s"], summary["speculation"]["acceptance_length"] or 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m spinsim.studies.published_speedups", description=__doc__)
    parser.add_argument("scenario", nargs="?", type=Path, default=Path("scenarios/specdecode-bench.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", dest="overrides")
    given = parser.parse_args(argv)
    print(f"{'drafter':10} {'batch':>5} {'tokens':>6} {'speed-up':>9} {'acceptance length':>18}")

    def show(row: SpeedUp) -> None:
        where = f"{row.draft:10} {row.batch:5d} {row.length:6d}"
        print(f"{where} {row.speed_up:8.2f}x {row.acceptance_length:18.3f}", flush=True)

    try:
        speed_ups(given.scenario, overrides=given.overrides, report=show)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
