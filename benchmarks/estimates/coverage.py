"""Do 90 % intervals hold 90 % of live values on hosts that had no part in them?

    python -m benchmarks.estimates.coverage --runs 39 --out coverage.json      # half an hour of one core

Each host is left out of the prior in turn, and its live cells are predicted in three ways: from its own
profile (another process, the same hour), from the profiles of other hosts with that kind of GPU, and from
sheets that were fitted without that kind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.estimates.__main__ import ROOT, SHEETS
from benchmarks.estimates.held_out import on_sheets
from benchmarks.estimates.shipped import Host, hosts
from spinsim.drafters.costs import build_predictor
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.scenario import ProfileCosts, Scenario
from spinsim.studies.intervals import uncertainty_of
from spinsim.studies.validation.agreement import covered
from spinsim.studies.validation.folder import LiveCell
from spinsim.studies.validation.simulated_cells import intervals_of_cell

Numbers = dict[str, Any]
MOST = 3  # cells of a host, evenly


@dataclass(frozen=True)
class Asked:
    """A live cell of ``host``, predicted from ``basis`` as ``scenario`` says; ``judge``: whose profile."""

    basis: str
    host: Host
    cell: LiveCell
    scenario: Scenario
    judge: str = ""


def asked(
    known: Sequence[Host], fitted: Mapping[str, Numbers], *, most: int | None = MOST
) -> Iterator[Asked]:
    """All of them; ``most``: cells of a host, None: every one, those short of CPUs as well."""
    for host in known:
        cells = list(host.cells(beside_other_jobs=most is None))
        count = len(cells) if most is None else min(most, len(cells))
        for cell in [cells[i] for i in np.linspace(0, len(cells) - 1, count).astype(int)]:
            for judge in known:
                if judge.gpu != host.gpu or (judge.machine == host.machine and judge is not host):
                    continue
                basis = "own profile" if judge is host else "another host's profile"
                for path in judge.profiles:
                    costs = ProfileCosts(model="profile", path=str(path.resolve()))
                    scenario = cell.scenario.model_copy(update={"costs": costs})
                    yield Asked(basis, host, cell, scenario, judge.name)
            yield Asked("sheets", host, cell, on_sheets(cell.scenario, fitted[host.gpu]["efficiencies"]))


def coverage(one: Asked, runs: int) -> Numbers | None:
    """How many of its live values lie inside; None where the profile does not have the models."""
    assert one.host.live is not None
    try:
        predictor = build_predictor(one.scenario, one.host.live)
        unknown = uncertainty_of(one.scenario, one.host.live, predictor, without_host=one.host.machine)
        drawn = intervals_of_cell(one.cell, one.scenario, one.host.live, predictor, runs, unknown)
    except InputError:
        return None
    assert drawn is not None
    return covered(one.cell.runs, drawn["metrics"])


def summed(found: Sequence[Numbers]) -> Numbers:
    """Over cells."""
    widths = [width for one in found for width in one["widths"]]
    checked, inside = (sum(one[name] for one in found) for name in ("checked", "covered"))
    outside: dict[str, int] = {}
    for one in found:
        for name, count in one["outside"].items():
            outside[name] = outside.get(name, 0) + count
    return {
        "cells": len(found),
        "values": checked,
        "inside": round(inside / checked, 3),
        "median_width": round(float(np.median(widths)), 4),
        "outside": outside,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimates.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=19, help="simulated runs behind each interval")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    fitted = json.loads(SHEETS.read_text(encoding="utf-8"))["held_out"]
    found: dict[tuple[str, str], list[Numbers]] = {}
    with TemporaryDirectory() as scratch:
        for one in asked(hosts(ROOT, Path(scratch)), fitted):
            if (row := coverage(one, options.runs)) is not None:
                found.setdefault((one.basis, one.host.name), []).append(row)
                rows = [{"basis": b, "host": h, **summed(r)} for (b, h), r in sorted(found.items())]
                bases = dict.fromkeys(basis for basis, _ in found)
                total = {
                    basis: summed([row for (b, _), mine in found.items() if b == basis for row in mine])
                    for basis in bases
                }
                data = {"runs": options.runs, "in_all": total, "by_host": rows}
                write_atomically(options.out, json.dumps(data, indent=1) + "\n")
    print(json.dumps(data["in_all"], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
