"""How well hosts that nothing was fitted to are predicted: errors, order of policies, and intervals.

    python -m benchmarks.estimates.judge 2026-11-28-h200-1-run2 --out judged.json

To be run when a host's measurements have been added to docs/measurements, and before ``python -m
benchmarks.estimates`` takes them up. Then fitted.json and host_prior.json have not seen the host, and what is
printed is held out. It says whether that is so. Every cell is predicted from the host's own profile, from the
profiles of other machines with that kind of GPU, from sheets as they ship, and from sheets that were fitted
without that kind. Cells during which other jobs had the host's CPUs are judged apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.estimates.__main__ import INTERVALS, ROOT, SHEETS
from benchmarks.estimates.coverage import Asked, asked, coverage, summed
from benchmarks.estimates.held_out import errors_of, on_sheets
from benchmarks.estimates.shipped import Host, hosts, short_of_cpus
from spinsim.drafters.costs import build_predictor
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.studies.validation.agreement import ranking
from spinsim.studies.validation.simulated_cells import compare_cell

Numbers = dict[str, Any]
RUNS = 19  # simulated runs behind an interval; 0: no intervals


def judged(known: Sequence[Host], names: Sequence[str], fitted: Numbers, runs: int) -> Iterator[Numbers]:
    """A row for each cell of the named hosts and way of predicting it."""
    for one in _asked(known, names, fitted):
        assert one.host.live is not None
        try:
            predictor = build_predictor(one.scenario, one.host.live)
            compared = compare_cell(one.cell, one.scenario, one.host.live, predictor, 0)
        except InputError:  # a profile of other models
            continue
        yield {
            "basis": one.basis,
            "judge": one.judge,
            "host": one.host.name,
            "short_of_cpus": short_of_cpus(one.cell),
            "compared": compared,
            "coverage": coverage(one, runs) if runs else None,
        }


def _asked(known: Sequence[Host], names: Sequence[str], fitted: Numbers) -> Iterator[Asked]:
    for one in asked(known, fitted["held_out"], most=None):
        if one.host.name not in names:
            continue
        yield one
        if one.basis == "sheets":
            ships = on_sheets(one.cell.scenario, fitted["efficiencies"])
            yield Asked("sheets as they ship", one.host, one.cell, ships)


def table(rows: Sequence[Numbers]) -> list[Numbers]:
    """A line for each way of predicting, with its CPUs to itself or not."""
    groups: dict[tuple[str, bool], list[Numbers]] = {}
    for row in rows:
        groups.setdefault((row["basis"], row["short_of_cpus"]), []).append(row)
    return [
        {"basis": basis, "short_of_cpus": short, **_line(found)}
        for (basis, short), found in sorted(groups.items())
    ]


def _line(rows: Sequence[Numbers]) -> Numbers:
    errors = errors_of([row["compared"] for row in rows])
    by_judge: dict[tuple[str, str], list[Numbers]] = {}
    for row in rows:
        by_judge.setdefault((row["host"], row["judge"]), []).append(row["compared"])
    orders = [ranking(cells) for cells in by_judge.values()]
    covered = [row["coverage"] for row in rows if row["coverage"] is not None]
    return {
        "cells": len(rows),
        **{
            name: {
                "mean": round(float(np.mean(found)), 4),
                "mean_absolute": round(float(np.mean(np.abs(found))), 4),
                "worst": round(float(max(found, key=abs)), 4),
            }
            for name, found in errors.items()
        },
        "pairs": sum(order["pairs"] for order in orders),
        "alike": sum(order["alike"] for order in orders),
        "intervals": summed(covered) if covered else None,
    }


def shown(line: Mapping[str, Any]) -> str:
    """A line of the table as text."""
    goodput, tpot, intervals = (line[n] for n in ("goodput_tokens_per_s", "tpot_p50_s", "intervals"))
    within = (
        f"{100 * intervals['inside']:5.1f} % of {intervals['values']} inside, width "
        f"{100 * intervals['median_width']:.1f} %"
        if intervals
        else ""
    )
    return (
        f"{line['basis']:24s} {'beside other jobs' if line['short_of_cpus'] else 'alone':17s} "
        f"{line['cells']:3d} cells  goodput {100 * goodput['mean']:+5.1f} % "
        f"({100 * goodput['mean_absolute']:.1f} %, worst {100 * goodput['worst']:+.1f} %)  "
        f"TPOT {100 * tpot['mean_absolute']:.1f} %, worst {100 * tpot['worst']:+.1f} %  "
        f"{line['alike']} of {line['pairs']} pairs  {within}"
    )


def seen(fitted: Numbers, prior: Numbers, machines: Sequence[str]) -> list[str]:
    """Which of the machines had a part in what ships."""
    by_kind = (by_host for basis in prior["deviations"].values() for by_host in basis.values())
    known = {host for by_host in by_kind for host in by_host} | set(fitted["fitted_to"])
    return sorted(known & set(machines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimates.judge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("hosts", nargs="+", help="names, as of the files without their ends")
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs behind each interval")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    fitted, prior = (json.loads(path.read_text(encoding="utf-8")) for path in (SHEETS, INTERVALS))
    with TemporaryDirectory() as scratch:
        known = hosts(ROOT, Path(scratch))
        if unknown := set(options.hosts) - {host.name for host in known}:
            parser.error(f"no host {sorted(unknown)}; there are {sorted(host.name for host in known)}")
        names = [name for host in known if host.name in options.hosts for name in (host.name, host.machine)]
        rows = list(judged(known, options.hosts, fitted, options.runs))
    lines = table(rows)
    known_before = seen(fitted, prior, names)
    data = {"hosts": options.hosts, "seen_before": known_before, "table": lines, "cells": rows}
    write_atomically(options.out, json.dumps(data, indent=1) + "\n")
    print("\n".join(map(shown, lines)))
    print(f"seen by what ships: {', '.join(known_before) or 'none of them: held out'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
