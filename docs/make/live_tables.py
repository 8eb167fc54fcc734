"""What live.md says of live runs: ``python docs/make/live_tables.py VALIDATION_FOLDER [PROFILE]``.

Of every closed cell: goodput over the repetitions, busy devices, idle time that the host caused; of serial
ones how a round passes. With a profile: measured passes over their floors on that machine.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import MappingProxyType

import numpy as np

from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.executed import pass_shape
from spinsim.costs.profiled.profile import Profile, read_profile
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.operations import KINDS
from spinsim.studies.validation.folder import Folder, LiveCell
from spinsim.studies.validation.operations import OperationTable

VERIFY, PREFILL = KINDS.index("verify"), KINDS.index("prefill")
LONG = 350  # tokens of context a row


def cell_line(cell: LiveCell) -> str:
    """A cell's repetitions: smallest and largest goodput, medians of the rest."""
    goodput = [run["goodput_tokens_per_s"] or 0.0 for run in cell.runs]

    def middle(name: str) -> float:
        return median(run.get(name) or 0.0 for run in cell.runs)

    devices = sorted(name for name in cell.runs[0] if name.startswith("busy.") and "/" not in name)
    busy = " ".join(f"{name[5:]} {100 * middle(name):.0f} %" for name in devices)
    return (
        f"{cell.name:60s} {min(goodput):7,.0f} to {max(goodput):7,.0f} ({len(goodput)})  "
        f"length {middle('acceptance_length'):.2f}  {busy}  "
        f"host idle {1e3 * middle('host_idle_round_s'):.2f} ms"
    )


def rounds(table: OperationTable) -> list[tuple[float, ...]]:
    """Rounds without a prefill: rows; ms to the first draft, from the last to verification, in it."""
    kind, rows, started, finished = (
        table.columns[name] for name in ("kind", "rows", "started_ns", "finished_ns")
    )
    order = np.argsort(started, kind="stable")
    verifies = np.flatnonzero(kind[order] == VERIFY)
    found = []
    for before, after in pairwise(verifies):
        between = order[before + 1 : after]
        if len(between) and (kind[between] != PREFILL).all():
            last, this = order[before], order[after]
            moments = (
                started[between].min() - finished[last],
                started[this] - finished[between].max(),
                finished[this] - started[this],
            )
            found.append((float(rows[this]), *(float(ns) / 1e6 for ns in moments)))
    return found


def floors(profile: Profile) -> None:
    """Ragged verification of five tokens a row, and later draft steps, over their floors."""
    bandwidth = max(p.features["bytes"] / p.seconds for p in profile.of("copy_bandwidth"))
    rate = max(p.features["flops"] / p.seconds for p in profile.of("matmul_rate"))
    print(f"\nfloor: {bandwidth / 1e12:.2f} TB/s, {rate / 1e12:.0f} TFLOP/s; points include the host's part")
    for point in profile.points:
        f = point.features
        step = point.operation == "draft_step" and f["tokens"] == f["rows"]
        verify = point.packing == "ragged" and f["query_tokens"] == 5 * f["rows"]
        if not (step or verify) or f["kv_tokens"] < LONG * f["rows"]:
            continue
        model = profile.models[point.model]
        machine = replace(
            hardware_of(model.hardware),
            bandwidth=bandwidth,
            rate=MappingProxyType({model.dtype: rate}),
            bandwidth_efficiency=1.0,
            compute_efficiency=1.0,
            ridge=math.inf,
            launch_s=0.0,
            graph_kernel_s=0.0,
            graph_launch_s=0.0,
        )
        costs, shape = PassCosts(model.shape, model.dtype, machine), pass_shape(point)
        least = costs.body(int(shape.tokens)) + costs.output(int(shape.head))
        least += costs.attention.seconds(shape.kv_tokens, shape.queries, shape.pairs)
        print(
            f"{point.operation:10s} {point.model:24s} {f['rows']:4.0f} rows "
            f"of {f['kv_tokens'] / f['rows']:.0f}"
            f": {1e3 * point.seconds:.3f} ms, {point.seconds / least:.2f} of the floor"
        )


def main(root: str, profile: str = "") -> None:
    """Print all of it."""
    folder = Folder(Path(root), resume=True)
    for key in folder.plan()["cells"]:
        cell = folder.get(key)
        if cell is None or cell.workload.concurrency is None:
            continue
        print(cell_line(cell))
        passed = [line for table in cell.operations for line in rounds(table)]
        if cell.name.endswith("serial") and passed:
            rows, drafted, verified, spent = np.mean(passed, axis=0)
            print(
                f"    {rows:.1f} rows: {drafted:.2f} ms to the first draft, "
                f"{verified:.2f} from the last to a verification of {spent:.2f}"
            )
    if profile:
        floors(read_profile(profile))


if __name__ == "__main__":
    main(*sys.argv[1:])
