"""A lane for each draft of a GPU: what it gains, when a lane starts, how well the law of contention predicts.

    python -m benchmarks.draft_lanes scenarios/one-gpu.yaml --set limits.batch=32 --out FILE
    python -m benchmarks.draft_lanes scenarios/family-cpu.yaml --device cpu --quick --out FILE   # a rehearsal

    python -m benchmarks.draft_lanes --judge docs/measurements/h200-draft-lanes.json    # the law, again

Under three minutes on a GPU. Every model runs on a lane of its own on the target's GPU:

``drafting``  proposals of some drafts, in turn on one lane and side by side, and what the law says of that
``start``     a short operation handed to an idle lane while another lane works: when it starts and ends
``law``       subsets of lanes kept busy: the law is fitted to the pairs and every third larger subset at some
              batch sizes, and held against the other subsets and the other sizes
``live``      the scenario with drafts that take turns, and with lanes of their own
``priority``  drafting beside a verification, with drafts' kernels as they are and before the target's
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.live_runs import measure
from spinsim.costs.contention import Demand, KernelLaw, side_by_side
from spinsim.costs.contention_fit import Group, errors, fit_law
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.engine.world import NS, Lane
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.quiet_interpreter import quiet
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.sharing import demand_of, kept_busy, probes_of
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.results.environment import environment
from spinsim.scenario_file import LoadedScenario, load

SCHEMA = "spinsim.draft-lanes/1"
LENGTH = 4
AIMS = {"drafting_over_in_turn": 0.7, "start_ms": 0.2, "held_out": 0.1}
Numbers = dict[str, Any]


class Lanes:
    """A deployment whose models have a lane each, all on the target's device."""

    def __init__(self, loaded: LoadedScenario, deployment: Deployment, context: int) -> None:
        scenario = loaded.scenario
        device = scenario.placement.target
        self.names = tuple(scenario.models.drafts)
        lanes = [Lane("target", device), *(Lane(name, device) for name in self.names)]
        with Workplace(scenario, loaded.base_dir, deployment) as place:
            self.loads, self.subject, self.batch = place.loads(), place.subject, place.batch
        self.bench = Bench(scenario, deployment, lanes, 0, range(1, len(lanes)))
        self.context, self.packing = context, scenario.policies.packing.name

    def probes(self, rows: int) -> list[Probe]:
        """A verification, and a proposal of every draft."""
        subject = self.subject
        return probes_of(subject.by_draft, subject.target, rows, self.context, LENGTH, self.packing)

    def drafting_sets(self) -> dict[str, list[int]]:
        """Drafts to propose together: those of the smallest shape, all, and the two largest shapes."""
        sizes = self.subject.models
        by_size = sorted(
            range(len(self.names)), key=lambda d: sizes[self.subject.by_draft[d]].shape.parameters()
        )
        smallest = self.subject.by_draft[by_size[0]]
        alike = [d for d in by_size if self.subject.by_draft[d] == smallest]
        return {
            name: drafts
            for name, drafts in (("smallest", alike), ("all", by_size), ("two largest", by_size[-2:]))
            if len(drafts) > 1
        }


def once(lanes: Lanes, jobs: Sequence[tuple[int, Callable[[], Any]]]) -> float:
    """Seconds from handing over the first job to the end of the last."""
    bench = lanes.bench
    began = bench.now_ns()
    for lane, call in jobs:
        bench.submit(lane, "propose", call)
    ends = [bench.next_completed()[1].finished_ns for _ in jobs]
    return (max(ends) - began) / NS


def drafting(lanes: Lanes, row_counts: Sequence[int], repetitions: int) -> Iterator[Numbers]:
    """Medians of proposals in turn and side by side; ``demands`` for what a law would have said."""
    for rows in row_counts:
        probes = lanes.probes(rows)[1:]
        calls = [lanes.bench.call(probe) for probe in probes]
        for name, drafts in lanes.drafting_sets().items():
            first = 1 + drafts[0]
            turn = [(first, calls[draft]) for draft in drafts]
            beside = [(1 + draft, calls[draft]) for draft in drafts]
            samples: list[list[float]] = [[], []]
            alone: list[list[float]] = [[] for _ in drafts]
            for repetition in range(repetitions + 2):
                pair = once(lanes, turn), once(lanes, beside)
                single = [once(lanes, [(1 + draft, calls[draft])]) for draft in drafts]
                if repetition >= 2:
                    for into, value in zip((*samples, *alone), (*pair, *single), strict=True):
                        into.append(value)
            in_turn, side = (float(np.median(values)) for values in samples)
            demands = [
                demand_of(lanes.loads, probes[draft], float(np.median(values)))
                for draft, values in zip(drafts, alone, strict=True)
            ]
            yield {
                "rows": rows,
                "drafts": name,
                "count": len(drafts),
                "in_turn_s": in_turn,
                "side_by_side_s": side,
                "ratio": side / in_turn,
                "spread_s": float(np.subtract(*np.quantile(samples[1], (0.75, 0.25)))) / 2,
                "demands": [list(demand) for demand in demands],
            }


def start(lanes: Lanes, repetitions: int) -> Numbers:
    """Of a short operation on an idle lane, a millisecond after another lane began to work."""
    bench = lanes.bench
    device = bench.deployment.target.device
    counter = torch.zeros(1, device=device)
    bench.settle()

    def short() -> None:
        counter.add_(1)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()

    probes = lanes.probes(min(32, lanes.batch))
    found: Numbers = {}
    longest = lanes.drafting_sets().get("all", [0])[-1]
    for busy, lane, probe in (
        ("verification", 0, probes[0]),
        ("large draft", 1 + longest, probes[1 + longest]),
    ):
        call = bench.call(probe)
        other = next(number for number in range(1, len(bench.lanes)) if number != lane)
        started, ended, took = [], [], []
        for _ in range(repetitions):
            bench.submit(lane, "long", call)
            time.sleep(1e-3)
            handed = bench.now_ns()
            bench.submit(other, "short", short)
            done = [bench.next_completed()[1] for _ in range(2)]
            quick = min(done, key=lambda one: one.finished_ns - one.started_ns)
            slow = max(done, key=lambda one: one.finished_ns - one.started_ns)
            if slow.finished_ns > handed:  # it was still at work
                started.append((quick.started_ns - handed) / NS)
                ended.append((quick.finished_ns - handed) / NS)
                took.append((slow.finished_ns - slow.started_ns) / NS)
        if started:
            found[busy] = {
                "tries": len(started),
                "start_p50_s": float(np.median(started)),
                "start_p90_s": float(np.quantile(started, 0.9)),
                "end_p50_s": float(np.median(ended)),
                "beside_s": float(np.median(took)),
            }
    return found


def busy_groups(lanes: Lanes, row_counts: Sequence[int], effort: Effort) -> Iterator[tuple[Numbers, Group]]:
    """Subsets of lanes of two, three and more unlike models, each kept busy."""
    seen: dict[Probe, float] = {}
    for rows in row_counts:
        probes = lanes.probes(rows)
        calls = {probe: (lanes.bench.lane_of(probe), lanes.bench.call(probe)) for probe in probes}
        for subset in _subsets(probes):
            for probe in subset:
                if probe not in seen:
                    (timing,) = kept_busy(lanes.bench, [calls[probe]], effort)
                    seen[probe] = timing.seconds
            found = kept_busy(lanes.bench, [calls[probe] for probe in subset], effort)
            demands = tuple(demand_of(lanes.loads, probe, seen[probe]) for probe in subset)
            about = {"rows": rows, "models": [("target", *lanes.names)[1 + probe.draft] for probe in subset]}
            yield about, Group(demands, tuple(one.seconds for one in found))


def _subsets(probes: Sequence[Probe]) -> list[tuple[Probe, ...]]:
    found: dict[tuple[tuple[str, str], ...], tuple[Probe, ...]] = {}
    for size in (2, 3, 4, len(probes) - 1, len(probes)):
        for subset in combinations(probes, size) if size >= 2 else ():
            found.setdefault(tuple(sorted((one.operation, one.model) for one in subset)), subset)
    # Of the many of four, every third.
    fours = [key for key, subset in found.items() if len(subset) == 4]
    for number, key in enumerate(fours):
        if number % 3:
            del found[key]
    return list(found.values())


def judged(groups: Sequence[tuple[Numbers, Group]], fitted_rows: Sequence[int]) -> Numbers:
    """The law by some subsets at ``fitted_rows``, and its errors on everything else."""
    chosen = _fitted([about for about, _ in groups], fitted_rows)
    fitted = [group for (_, group), used in zip(groups, chosen, strict=True) if used]
    law = fit_law(fitted)
    parts: dict[str, list[float]] = {}
    held: list[float] = []
    rows = []
    for (about, group), used in zip(groups, chosen, strict=True):
        size = "pairs" if len(group.seconds) == 2 else "larger subsets"
        sizes = "fitted" if used else "fitted sizes" if about["rows"] in fitted_rows else "other sizes"
        wrong = errors(law, group)
        parts.setdefault(f"{size}, {sizes}", []).extend(wrong)
        held.extend(() if used else wrong)
        slow = [s / demand.seconds for s, demand in zip(group.seconds, group.demands, strict=True)]
        rows.append(about | {"slowdowns": slow, "errors": wrong, "demands": [list(d) for d in group.demands]})
    pairs = sum(len(group.seconds) == 2 for group in fitted)
    return {
        "law": asdict(law),
        "fitted": {"pairs": pairs, "larger": len(fitted) - pairs, "rows": list(fitted_rows)},
        "errors": {name: _spread(wrong) for name, wrong in parts.items()},
        "held_out": _spread(held),
        "groups": rows,
    }


def _fitted(abouts: Sequence[Numbers], fitted_rows: Sequence[int]) -> list[bool]:
    """Which groups a law is fitted to: at the fitted rows all pairs, and every third larger subset."""
    order = sorted(
        (i for i, about in enumerate(abouts) if len(about["models"]) > 2 and about["rows"] in fitted_rows),
        key=lambda i: (abouts[i]["rows"], len(abouts[i]["models"])),
    )
    larger = set(order[::3])
    return [
        i in larger or (len(about["models"]) == 2 and about["rows"] in fitted_rows)
        for i, about in enumerate(abouts)
    ]


def judged_again(path: Path) -> Numbers:
    """The present law on what a file measured side by side: nothing is run."""
    law = json.loads(path.read_text())["law"]
    groups = []
    for row in law["groups"]:
        demands = tuple(Demand(*demand) for demand in row["demands"])
        seconds = tuple(one.seconds * s for one, s in zip(demands, row["slowdowns"], strict=True))
        groups.append(({"rows": row["rows"], "models": row["models"]}, Group(demands, seconds)))
    return {"law": judged(groups, law["fitted"]["rows"])}


def _spread(wrong: Sequence[float]) -> Numbers:
    size = np.abs(wrong)
    if not len(size):
        return {"count": 0}
    within = float((size <= AIMS["held_out"]).mean())
    p50, p95 = np.quantile(size, (0.5, 0.95))
    return {
        "count": len(size),
        "mean": float(size.mean()),
        "p50": float(p50),
        "p95": float(p95),
        "worst": float(size.max()),
        "within_10_percent": within,
    }


def predicted(rows: Sequence[Numbers], law: KernelLaw) -> list[Numbers]:
    """The rows of ``drafting`` with what the law says of their side-by-side time."""
    told = []
    for row in rows:
        ends = side_by_side(law, [Demand(*demand) for demand in row["demands"]])
        told.append(row | {"predicted_s": max(ends), "error": max(ends) / row["side_by_side_s"] - 1})
    return told


def live(
    path: Path, overrides: Sequence[str], device: str | None, deployment: Deployment
) -> Iterator[Numbers]:
    """The scenario with both kinds of lanes, on one deployment, each twice."""
    for lanes in ("shared", "own", "own", "shared"):
        loaded = load(path, [*overrides, f"placement.draft_lanes={lanes}"], device)
        figures = measure(loaded, deployment)
        kept = ("goodput_tokens_per_s", "tpot_p50_s", "acceptance_length", "rounds", "duration_s", "lanes")
        yield {"draft_lanes": lanes, **{name: figures[name] for name in kept}}


def beside_verification(lanes: Lanes, effort: Effort) -> Numbers:
    """Slow-downs of the target and of each draft shape beside it."""
    probes = lanes.probes(min(16, lanes.batch))
    found: Numbers = {}
    for model in dict.fromkeys(lanes.subject.by_draft):
        pair = [probes[0], probes[1 + lanes.subject.by_draft.index(model)]]
        calls = [(lanes.bench.lane_of(probe), lanes.bench.call(probe)) for probe in pair]
        alone = [kept_busy(lanes.bench, [call], effort)[0] for call in calls]
        together = kept_busy(lanes.bench, calls, effort)
        ratios = [b.seconds / a.seconds for a, b in zip(alone, together, strict=True)]
        found[model] = {"target": ratios[0], "draft": ratios[1]}
    return found


def shown(data: Numbers) -> str:
    """The tables, for people."""
    head = f"{'rows':>4s} {'drafts':12s} {'in turn':>10s} {'own lanes':>10s} {'ratio':>6s} {'law':>7s}"
    lines = [head] if "drafting" in data else []
    lines += [
        f"{row['rows']:4d} {row['drafts']:12s} {1e3 * row['in_turn_s']:7.2f} ms "
        f"{1e3 * row['side_by_side_s']:7.2f} ms {row['ratio']:6.2f} {100 * row['error']:+6.1f}%"
        for row in data.get("drafting", ())
    ]
    for busy, row in data.get("start", {}).items():
        lines.append(
            f"start beside a {busy} of {1e3 * row['beside_s']:.2f} ms: {1e3 * row['start_p50_s']:.3f} ms, "
            f"p90 {1e3 * row['start_p90_s']:.3f}; ended after {1e3 * row['end_p50_s']:.3f} ms"
        )
    if law := data.get("law"):
        constants = law["law"]
        lines.append(
            f"law: gap {constants['gap']:.3f}, crowd {constants['crowd']:.2f}, wait {constants['wait']:.2f} "
            f"beyond {1e6 * constants['short_s']:.2f} us a kernel, from {law['fitted']['pairs']} pairs and "
            f"{law['fitted']['larger']} larger subsets"
        )
        for name, row in [*law["errors"].items(), ("held out", law["held_out"])]:
            if row["count"]:
                lines.append(
                    f"  {name:30s} {row['count']:3d} times: mean {100 * row['mean']:.1f} %, p95 "
                    f"{100 * row['p95']:.1f} %, worst {100 * row['worst']:.1f} %, "
                    f"{100 * row['within_10_percent']:.0f} % within 10 %"
                )
    for row in data.get("live", ()):
        lines.append(
            f"live, {row['draft_lanes']:6s} lanes: {row['goodput_tokens_per_s']:7,.0f} tokens/s, "
            f"TPOT {1e3 * row['tpot_p50_s']:.2f} ms"
        )
    for priority, models in data.get("priority", {}).items():
        for model, ratios in models.items():
            target, draft = (ratios[name] for name in ("target", "draft"))
            lines.append(f"priority {priority}: {model} takes {draft:.2f} times as long, target {target:.2f}")
    return "\n".join(lines)


def found_hardware(options: argparse.Namespace) -> list[str]:
    """Overrides that name the GPU that is there; none on a CPU, or where it has no sheet."""
    sheet = sheet_of_device(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    if sheet is None or options.device == "cpu":
        return []
    devices = load(options.scenario, options.overrides, options.device).scenario.devices
    return [f"devices.{name}.hardware={sheet}" for name in devices]


def run(options: argparse.Namespace) -> Numbers:
    """Every part, the file rewritten after each."""
    began = time.perf_counter()
    options.overrides = [*found_hardware(options), *options.overrides]
    loaded = load(options.scenario, options.overrides, options.device)
    scenario = loaded.scenario
    data: Numbers = {"schema": SCHEMA, "aims": AIMS, "wall_s": {}, "environment": environment()}
    data["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    quick = options.quick
    effort = Effort(0.005, 1, 4, 1, 1) if quick else Effort(0.06, 6, 40, 2, 1)
    row_counts = [rows for rows in ((1, 2, 3) if quick else (2, 6, 16, 32)) if rows <= scenario.limits.batch]
    fitted_rows = (1, 3) if quick else (2, 16)
    context = min(300, scenario.limits.context_tokens - scenario.limits.max_length - LENGTH)

    def part(name: str, value: Any) -> None:
        data[name] = value
        data["wall_s"][name] = round(time.perf_counter() - began, 2)
        write_atomically(options.out, json.dumps(data, indent=1) + "\n")
        print(f"[{data['wall_s'][name]:6.1f} s] {name}", flush=True)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    deployment = deploy(scenario, loaded.base_dir)
    part("gpus_before", gpu_states())
    lanes = Lanes(loaded, deployment, context)
    with quiet():
        rows = list(drafting(lanes, row_counts, 3 if quick else 25))
        part("start", start(lanes, 5 if quick else 40))
        groups = list(busy_groups(lanes, row_counts, effort))
        part("law", judged(groups, fitted_rows))
        law = KernelLaw(**data["law"]["law"])
        part("drafting", predicted(rows, law))
        part("priority", {"0": beside_verification(lanes, effort)})
    lanes.bench.close()
    part("live", list(live(options.scenario, options.overrides, options.device, deployment)))
    if options.priority:
        del lanes, deployment
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        first = Lanes(loaded, deploy(scenario, loaded.base_dir, draft_priority=-1), context)
        with quiet():
            part("priority", data["priority"] | {"-1": beside_verification(first, effort)})
        first.bench.close()
    part("gpus_after", gpu_states())
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write. Exit codes as the command line's: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path, nargs="?")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="fit and judge the law by a file of --out")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every part")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="few rows and samples: a rehearsal")
    parser.add_argument(
        "--no-priority", dest="priority", action="store_false", help="without a second deployment"
    )
    options = parser.parse_args(arguments)
    if options.judge is None and (options.scenario is None or options.out is None):
        parser.error("a scenario and --out FILE, or --judge FILE")
    try:
        data = run(options) if options.judge is None else judged_again(options.judge)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(shown(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
