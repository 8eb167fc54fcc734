"""How far live runs are from what was predicted for them, by host and kind of operation.

Two predictions are judged. *profile*: costs come from a profile of another host with the same kind of GPU,
that is of another process, day and host. *sheets*: costs come from sheets whose numbers were fitted without
that kind of GPU. A deviation is the mean over a host's cells of

    log (seconds that the live operations of a kind took / seconds predicted for as many)

in groups of equal rows. *handling* is the same of handovers: from what led to an operation to its start on a
lane that stood idle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import log, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.estimates.held_out import compared_cells, on_sheets
from benchmarks.estimates.shipped import LONG_CONTEXTS, MEASUREMENTS, Host
from benchmarks.long_context_cells import SECTIONS, Size, cell_of, figures, write_scenario
from spinsim.costs.for_scenario import build_roofline
from spinsim.drafters.costs import build_predictor
from spinsim.errors import InputError
from spinsim.operations import KINDS
from spinsim.scenario import ProfileCosts, RooflineCosts
from spinsim.serving import trusting
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.validation.simulated_cells import compare_cell

Numbers = dict[str, Any]
Deviations = dict[str, dict[str, float]]  # by kind and host
FEWEST = 20  # operations of a group in a run


def of_cell(compared: Numbers) -> dict[str, float]:
    """By kind, of a cell that :func:`~spinsim.studies.validation.simulated_cells.compare_cell` compared."""
    sums: dict[str, tuple[float, float]] = {}

    def add(kind: str, count: float, live: float | None, said: float | None) -> None:
        if live and said:
            before = sums.get(kind, (0.0, 0.0))
            sums[kind] = before[0] + count * live, before[1] + count * said

    for row in compared["operations"]:
        ours, told = row["live"], row["simulated"]
        if ours and told and ours["count"] >= FEWEST:
            add(row["kind"], ours["count"], ours["duration_s"], told["duration_s"])
            add("handling", ours["handover_count"], ours["handover_s"], told["handover_s"])
    return {kind: log(live / said) for kind, (live, said) in sums.items()}


def from_profiles(known: Sequence[Host]) -> Deviations:
    """Every host by the profiles of others of its kind; machines that may be one have one deviation."""
    found: dict[str, dict[str, list[float]]] = {}
    for judge, host in product(known, known):
        if judge.machine == host.machine or judge.gpu != host.gpu or host.live is None:
            continue
        for cell in by_profiles(judge, host):
            for kind, deviation in of_cell(cell).items():
                found.setdefault(kind, {}).setdefault(host.machine, []).append(deviation)
        for kind, deviation in hops(judge, host).items():
            found.setdefault(kind, {}).setdefault(host.machine, []).append(deviation)
    return means(found)


def by_profiles(judge: Host, host: Host, every: int = 1) -> Iterator[Numbers]:
    """Cells of ``host`` as each profile of ``judge`` predicts them, of those whose models it has."""
    for path, cell in product(judge.profiles, list(host.cells())[::every]):
        costs = ProfileCosts(model="profile", path=str(path.resolve()))
        scenario = cell.scenario.model_copy(update={"costs": costs})
        try:
            predictor = build_predictor(scenario, host.live)
            assert host.live is not None
            yield compare_cell(cell, scenario, host.live, predictor, 0)
        except InputError:  # other models, or shapes beyond it
            continue


def prefill_seconds(known: Sequence[Host]) -> dict[str, float]:
    """By machine, the mean over its live cells of what a prefill took."""
    found: dict[str, list[float]] = {}
    for host in known:
        for cell in host.cells():
            columns = cell.operations[0].columns
            chosen = columns["kind"] == KINDS.index("prefill")
            if chosen.sum() >= FEWEST:
                took = (columns["finished_ns"] - columns["started_ns"])[chosen]
                found.setdefault(host.machine, []).append(float(took.mean()) * 1e-9)
    return {machine: float(f"{np.mean(each):.3g}") for machine, each in sorted(found.items())}


def hops(judge: Host, host: Host) -> dict[str, float]:
    """From thread to thread, by the benches alone."""
    ours, theirs = (
        [point.seconds for profile in one.profiles.values() for point in profile.of("hop")]
        for one in (host, judge)
    )
    return {"hop": log(np.median(ours) / np.median(theirs))} if ours and theirs else {}


def from_sheets(
    known: Sequence[Host], root: Path, held_out: Mapping[str, Numbers]
) -> tuple[Deviations, dict[str, float]]:
    """Every host by the sheets of a fit without its kind of GPU, and how cells of a host scatter: see
    :func:`within`."""
    found: dict[str, dict[str, list[float]]] = {}

    def add(machine: str, deviations: Mapping[str, float]) -> None:
        for kind, deviation in deviations.items():
            found.setdefault(kind, {}).setdefault(machine, []).append(deviation)

    for host in known:
        told = held_out[host.gpu]["efficiencies"]
        every = 3 if host.name == "h100-x2" else 1
        for cell in compared_cells(host, told, every):
            add(host.machine, of_cell(cell))
        said = [point.seconds for profile in host.profiles.values() for point in profile.of("hop")]
        if said:
            add(host.machine, {"hop": log(np.median(said) / told["hop_s"])})
    path = root / MEASUREMENTS / LONG_CONTEXTS
    for deviations in long_contexts(path, held_out["h200"]["efficiencies"]):
        add(path.stem, deviations)
    return means(found), within(found)


def long_contexts(path: Path, efficiencies: Mapping[str, float]) -> Iterator[dict[str, float]]:
    """Of each of its cells, from the means that it kept."""
    data = json.loads(path.read_text(encoding="utf-8"))
    size = Size(**{k: tuple(v) if isinstance(v, list) else v for k, v in data["size"].items()})
    with TemporaryDirectory() as scratch:
        base = write_scenario(Path(scratch), size, "h200", len(data["cards"]), {"model": "roofline"})
        for row in (row for row in data["runs"] if row["cell"] != "decomposed"):
            loaded = cell_of(base, size, row["context"], SECTIONS[row["section"]][row["cell"]])
            scenario = trusting(on_sheets(loaded.scenario, efficiencies))
            sheets = build_roofline(scenario, loaded.base_dir, RooflineCosts(model="roofline"))
            told = figures(simulate_scenario(scenario, loaded.base_dir, predictor=sheets).records)
            names = {kind: f"{kind}_s" for kind in KINDS}
            yield {k: log(row[n] / told[n]) for k, n in names.items() if n in row and n in told}


def within(found: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """By kind, the standard deviation of cells' deviations about their host's mean, pooled over hosts.

    A kind of which every host has one deviation has none.
    """
    pooled: dict[str, float] = {}
    for kind, by_host in sorted(found.items()):
        groups = [each for each in by_host.values() if len(each) > 1]
        freedom = sum(len(each) - 1 for each in groups)
        if freedom:
            squares = sum(float(np.var(each)) * len(each) for each in groups)
            pooled[kind] = round(sqrt(squares / freedom), 4)
    return pooled


def means(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Deviations:
    """One deviation a kind and host."""
    return {
        kind: {host: round(float(np.mean(each)), 4) for host, each in sorted(by_host.items())}
        for kind, by_host in sorted(found.items())
    }
