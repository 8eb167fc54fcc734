"""Lanes of one GPU at work: proposals in turn and side by side, when one starts, and subsets kept busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from spinsim.costs.contention_fit import Group
from spinsim.engine.world import NS, Lane
from spinsim.live.deployment import Deployment
from spinsim.profiling.bench import Bench
from spinsim.profiling.probes import Probe
from spinsim.profiling.sharing import demand_of, kept_busy, probes_of
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.scenario_file import LoadedScenario

LENGTH = 4  # tokens of a proposal
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
