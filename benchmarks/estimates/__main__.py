"""What all measurements that ship come to, as data of the package.

python -m benchmarks.estimates sheets         # spinsim/costs/sheets/fitted.json; half a minute
python -m benchmarks.estimates sheets --keep  # its numbers stay, and are judged by every host
python -m benchmarks.estimates intervals      # spinsim/lab/host_prior.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.estimates import held_out
from benchmarks.estimates.deviations import from_profiles, from_sheets, prefill_seconds
from benchmarks.estimates.passes import Timed, handovers, of_live, of_long_contexts, of_profile
from benchmarks.estimates.sheet_fit import LARGE, errors_by, fit, fit_host
from benchmarks.estimates.shipped import LONG_CONTEXTS, MEASUREMENTS, Host, hosts, measured
from spinsim.files import write_atomically

ROOT = Path(__file__).parents[2]
SHEETS = ROOT / "spinsim" / "costs" / "sheets" / "fitted.json"
INTERVALS = ROOT / "spinsim" / "lab" / "host_prior.json"
EVERY = 3  # of the 49 cells of the corner, each of so many is simulated
Numbers = dict[str, Any]


def times_of(known: Sequence[Host]) -> list[Timed]:
    """Everything timed."""
    found = [
        one for host in known for profile in host.profiles.values() for one in of_profile(host.name, profile)
    ]
    found += [one for host in known for one in of_live(host)]
    return [*found, *of_long_contexts(ROOT / MEASUREMENTS / LONG_CONTEXTS)]


def estimated(known: Sequence[Host], times: Sequence[Timed], without: str = "") -> dict[str, float]:
    """The sheets' numbers from everything but GPUs of one kind."""
    seen = [host for host in known if host.gpu != without]
    profiles = [profile for host in seen for profile in host.profiles.values()]
    waits = [wait for host in seen for wait in handovers(host)]
    return fit([one for one in times if one.hardware != without]) | fit_host(profiles, waits)


def summary(errors: Mapping[str, Sequence[float]]) -> Numbers:
    """By metric: mean, mean of the absolute errors, and the worst."""
    return {
        name: {
            "cells": len(found),
            "mean": round(float(np.mean(found)), 4),
            "mean_absolute": round(float(np.mean(np.abs(found))), 4),
            "worst": round(float(np.max(np.abs(found))), 4),
        }
        for name, found in errors.items()
    }


def judged(known: Sequence[Host], times: Sequence[Timed], gpu: str, told: Mapping[str, float]) -> Numbers:
    """A kind of GPU by what the others say of it: ``told``."""
    by_host: Numbers = {}
    for host in known:
        if host.gpu == gpu and host.live is not None:
            every = EVERY if host.name == "h100-x2" else 1
            cells = list(held_out.compared_cells(host, told, every))
            if not cells:  # all of them were short of CPUs
                continue
            by_host[host.name] = summary(held_out.errors_of(cells))
    if gpu == "h200":
        path = ROOT / MEASUREMENTS / LONG_CONTEXTS
        by_host[path.stem] = summary(held_out.long_context_errors(path, told))
    passes = {name: told[name] for name in LARGE}
    kinds = errors_by([one for one in times if one.hardware == gpu], passes)
    rounded = {
        kind: {name: round(value, 4) for name, value in asdict(found).items()}
        for kind, found in kinds.items()
    }
    return {"efficiencies": dict(told), "operations": rounded, "hosts": by_host}


def sheets(keep: bool = False) -> Numbers:
    """The content of ``fitted.json``; ``keep``: with the numbers that it has, by more hosts."""
    kept: Numbers = json.loads(SHEETS.read_text(encoding="utf-8")) if keep else {}
    with TemporaryDirectory() as scratch:
        known = hosts(ROOT, Path(scratch))
        times = times_of(known)
        gpus = sorted({host.gpu for host in known})
        told = {
            gpu: kept["held_out"][gpu]["efficiencies"] if keep else estimated(known, times, without=gpu)
            for gpu in gpus
        }
        return {
            "command": "python -m benchmarks.estimates sheets",
            "measured": measured(ROOT),
            "fitted_to": kept["fitted_to"] if keep else sorted({one.host for one in times}),
            "efficiencies": kept["efficiencies"] if keep else estimated(known, times),
            "held_out": {gpu: judged(known, times, gpu, told[gpu]) for gpu in gpus},
        }


def intervals() -> Numbers:
    """The content of ``host_prior.json``, by the sheets as they are in ``fitted.json``."""
    fitted = json.loads(SHEETS.read_text(encoding="utf-8"))["held_out"]
    with TemporaryDirectory() as scratch:
        known = hosts(ROOT, Path(scratch))
        by_sheets, scatter = from_sheets(known, ROOT, fitted)
        return {
            "command": "python -m benchmarks.estimates intervals",
            "measured": measured(ROOT),
            "deviations": {"profile": from_profiles(known), "sheets": by_sheets},
            "within": {"sheets": scatter},
            "seconds": {"prefill": prefill_seconds(known)},
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one of the files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("sheets", "intervals"))
    parser.add_argument("--keep", action="store_true", help="of sheets: their numbers stay as they are")
    options = parser.parse_args(arguments)
    path = SHEETS if options.what == "sheets" else INTERVALS
    made = sheets(options.keep) if options.what == "sheets" else intervals()
    write_atomically(path, json.dumps(made, indent=1) + "\n")
    print(f"{path} is written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
