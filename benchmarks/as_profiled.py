"""A profile against runs that it has not seen: ``python -m benchmarks.as_profiled --out FOLDER``.

One deployment (Llama 3 8B shape, drafts of 117M and 1.2B, random weights, contexts of up to 26 thousand
tokens) is profiled quickly, and then serves long-context cells. By cell and operation: the median time within
the run over what the profile predicts for those very rows; likewise handovers, from the end of an operation
to the start of the next; and the rate of decoding beside that of a simulation. FOLDER gets profile.json and
as_profiled.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.as_it_runs import PACKINGS, measured, scenario_of
from benchmarks.as_it_runs_live import Call, Watched
from benchmarks.gpu_state import changing, gpu_states
from benchmarks.kernel_session import Session, full_plan, measure_machine, tiny_plan
from benchmarks.long_context_cells import FAST, FULL, LENGTH, QUICK, SERIAL, Size, cell_of, figures
from benchmarks.policies import fixed, packing
from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import build_profiled
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.engine.world import NS
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.operations import KINDS
from spinsim.packings import packing_kind
from spinsim.profiling.session import Session as Profiling
from spinsim.profiling.timing import QUICK as BRIEFLY
from spinsim.profiling.workplace import Workplace
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.profile import measure_fixed, measure_on_a_bench

CELLS = ((2048, "ragged"), (8192, "ragged"), (2048, "decomposed"), (2048, "padded"), (16384, "ragged"))
VERIFY, PROPOSE = KINDS.index("verify"), KINDS.index("propose")


def profiled(loaded: LoadedScenario, deployment: Deployment, path: Path) -> Any:
    """The profile of this machine: its core, stairs, host, lanes side by side, rehearsals, and a bench's."""
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        session = Profiling(place.empty_profile(), path, BRIEFLY, place.guess(), None)
        place.bench.warm_up(2.0)
        try:
            plan = place.design(quick=True, packings=PACKINGS)
            measure_fixed(session, place, PACKINGS, place.selectors(quick=True))
            session.measure(place.bench, plan.stairs)
            measure_on_a_bench(session, place, plan.core)
            session.pass_over(plan.stairs)
        finally:
            session.write()
    return session.profile


def predicted_s(predictor: Predictor, name: str, call: Call) -> float:
    """What the profile says of a call of a runner."""
    rows = call.asked
    if name == "verify":
        kind, piece = call.packed
        plan = packing_kind(kind).shape(rows.ends, [length + 1 for length in rows.lengths], piece)
        return predictor.verify(plan).seconds
    if name == "propose":
        return predictor.propose(0, rows.lengths, rows.contexts).seconds
    return predictor.prefill(rows.news, rows.starts).seconds


def cell(
    session: Session, path: Path, size: Size, overrides: Sequence[str], deployment: Deployment, profile: Any
) -> Iterator[None]:
    """Live cells, each beside what the profile says."""
    cuda = session.device.type == "cuda"
    for context, kind in CELLS if cuda else ((24, "ragged"), (24, "decomposed")):
        if session.late(15 if cuda else 0):
            session.add("left out", what=f"{kind} {context}")
            continue
        loaded = cell_of(path, size, context, [*overrides, fixed(FAST), LENGTH, packing(kind), SERIAL])
        predictor = build_profiled(loaded.scenario, loaded.base_dir, profile, allow_roofline=True)
        target, drafts = Watched(deployment.target), [Watched(draft) for draft in deployment.drafts]
        stand_ins: Any = {"target": target, "drafts": tuple(drafts)}
        ran = run_scenario(loaded.scenario, loaded.base_dir, dataclasses.replace(deployment, **stand_ins))
        if ran.error is not None:
            raise ran.error
        told = figures(simulate_scenario(loaded.scenario, loaded.base_dir, predictor=predictor).records)
        live = figures(ran.records)
        session.add(
            "cell",
            context=context,
            packing=kind,
            live=live,
            told=told,
            over_told={name: live[name] / told[name] for name in live if told.get(name)},
            clocks=changing(gpu_states()),
        )
        operations(session, context, kind, ran.records, predictor, target, drafts[0])
        handovers(session, context, kind, ran.records, predictor)
        yield


def operations(
    session: Session, context: int, kind: str, records: Any, predictor: Predictor, target: Any, draft: Any
) -> None:
    """By kind: quantiles of live over predicted, over operations of all rows."""
    spans = (np.asarray(records.operations.finished_ns) - np.asarray(records.operations.started_ns)) / NS
    kinds, sizes = np.asarray(records.operations.kind), np.asarray(records.operations.rows)
    for name, runner in (("verify", target), ("propose", draft), ("prefill", target)):
        calls, mine = runner.calls[name], kinds == KINDS.index(name)
        full = sizes[mine].max(initial=0)
        ratios = [
            seconds / predicted_s(predictor, name, call)
            for seconds, rows, call in zip(spans[mine], sizes[mine], calls, strict=False)
            if rows == full
        ]
        session.add(
            "operation",
            context=context,
            packing=kind,
            what=name,
            rows=int(full),
            count=len(ratios),
            ms=float(np.median(spans[mine & (sizes == full)])) * 1e3,
            over_profile=float(np.median(ratios)),
            p10=float(np.quantile(ratios, 0.1)),
            p90=float(np.quantile(ratios, 0.9)),
            graphs_captured=sum(call.captured for call in calls),
        )


def handovers(session: Session, context: int, kind: str, records: Any, predictor: Predictor) -> None:
    """From the end of a proposal or a verification of all rows to the start of the next operation."""
    started, finished = (
        np.asarray(getattr(records.operations, f"{side}_ns")) for side in ("started", "finished")
    )
    kinds, sizes = np.asarray(records.operations.kind), np.asarray(records.operations.rows)
    order = np.argsort(started)
    hop = 2 * predictor.hop().seconds
    for before, after in ((PROPOSE, VERIFY), (VERIFY, PROPOSE)):
        full = sizes[kinds == before].max(initial=0)
        gaps = [
            float(started[b] - finished[a]) / NS
            for a, b in pairwise(order)
            if (kinds[a], kinds[b]) == (before, after) and sizes[a] == sizes[b] == full
        ]
        if gaps:
            told = predictor.handle(KINDS[before], int(full)).seconds
            session.add(
                "handover",
                context=context,
                packing=kind,
                after=KINDS[before],
                rows=int(full),
                count=len(gaps),
                ms=float(np.median(gaps)) * 1e3,
                told_ms=(told + hop) * 1e3,
                handling_ms=told * 1e3,
                hop_ms=hop * 1e3,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, then run cells while there is time; 0 when nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0, help="start nothing that would end later")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--kv-tokens", type=int, default=240_000, help="in the target's cache (240000)")
    parser.add_argument("--tiny", action="store_true", help="small shapes, for a machine without a GPU")
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not cuda and not options.tiny:
        parser.error("no CUDA device; allowed without one: --tiny")
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    plan = full_plan() if cuda else tiny_plan()
    session = Session(plan, device, options.seconds, options.out / "as_profiled.json")
    measure_machine(session)
    hardware = (sheet_of_device(torch.cuda.get_device_name(device)) or "h200") if cuda else "cpu"
    size = dataclasses.replace(FULL, contexts=(2048, 8192, 16384)) if cuda else QUICK
    with TemporaryDirectory() as scratch:
        kv_tokens = options.kv_tokens if cuda else 2048
        path, overrides, loaded = scenario_of(Path(scratch), size, hardware, 1, kv_tokens)
        deployment = deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS)
        session.add("deployed", kv_tokens=deployment.kv_tokens)
        profile = profiled(loaded, deployment, options.out / "profile.json")
        session.add("profiled", points=len(profile.points), clocks=profile.clocks)
        cells: Callable[[], Iterator[None]] = lambda: cell(  # noqa: E731
            session, path, size, overrides, deployment, profile
        )
        return int(measured(session, "cells", cells))


if __name__ == "__main__":
    sys.exit(main())
