"""Models in memory with their caches and graphs: made once, used by any number of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from spinsim.buckets import USUAL, Buckets
from spinsim.costs.for_scenario import buckets_of
from spinsim.engine.kv import KvPools
from spinsim.engine.world import Lane
from spinsim.errors import InputError
from spinsim.live.executor import LaneDevice, TorchExecutor
from spinsim.live.load import Models, load_models, placed_drafts
from spinsim.live.paging import Paging
from spinsim.live.places import torch_device
from spinsim.live.several import Divided, least
from spinsim.packings import executed_by
from spinsim.policies.build import KINDS, reads_entropies
from spinsim.progress import Progress
from spinsim.runner.base import Runner, TellsEntropies
from spinsim.runner.for_model import make_runner
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.head import LoadedHead, make_head_runner
from spinsim.runner.kv import Layout
from spinsim.runner.kv_capacity import free_memory, measure
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sampling import Sampling
from spinsim.runner.sharded.leader import ShardedRunner
from spinsim.scenario import Scenario
from spinsim.scenario_file.one_world import refuse_simulated_only

TARGET = "target"
CPU_BUDGET_BYTES = 4 * 2**30  # K/V on a CPU: a fixed share of the host's memory, since runs there are small


@dataclass(frozen=True)
class Deployment:
    """``drafts`` are the runners of those that keep K/V (models and heads), in the scenario's order.

    ``kv_tokens`` and ``kv_slots`` (requests at once) per model, the target's under ``"target"``.

    ``sampling`` is fixed here: graphs are captured for it.
    """

    models: Models
    target: Runner
    drafts: tuple[Runner, ...]
    kv_tokens: dict[str, int]
    kv_slots: dict[str, int]
    sampling: Sampling
    _streams: dict[tuple[int, torch.device], torch.cuda.Stream] = field(default_factory=dict)

    @property
    def tells_entropies(self) -> bool:
        """Do all drafts that can say how sure they are of their proposals?"""
        return all(draft.tells_entropies for draft in self.drafts if isinstance(draft, TellsEntropies))

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes of a target over several devices. The deployment serves no run afterwards."""
        for runner in (self.target, *self.drafts):
            runner.close()

    def ranks(self) -> dict[str, dict[str, float]]:
        """By device of the target but its first: how calls travelled there since this was last asked.

        ``calls``, and ``mean_s``, ``p50_s``, ``p99_s`` from telling one to receiving it. No run is going on.
        """
        if not isinstance(self.target, ShardedRunner):
            return {}
        return {name: hops._asdict() for name, hops in self.target.ranks.hops().items()}

    def executor(self, scenario: Scenario, lanes: Sequence[Lane]) -> TorchExecutor:
        """An executor whose lanes have streams of their own, the same ones in every run.

        torch hands out 32 streams a device in turn: after enough runs a lane's would be the one that
        another lane's graphs are captured on. Memory is cached by stream besides. A lane of drafts beside
        another rank's share has none: that rank's process does.
        """
        places = []
        for number, lane in enumerate(lanes):
            device = torch_device(scenario, lane.devices[0])
            stream = None
            if device.type == "cuda" and lane.devices[0] not in scenario.placement.target[1:]:
                if (number, device) not in self._streams:
                    stream_of: Any = torch.cuda.Stream
                    self._streams[number, device] = stream_of(device)
                stream = self._streams[number, device]
            places.append(LaneDevice(device, stream))
        runners = dict(zip(self.models.drafts, self.drafts, strict=True))
        drafts = [runners.get(name) for name in scenario.models.drafts]
        return TorchExecutor(self.target, drafts, places, self.sampling, self.models.target.vocabulary)

    def paging(self, pools: KvPools) -> Paging:
        """The runners over the blocks of an engine's pools."""
        runners = iter(self.drafts)
        drafts = [next(runners) if pool.keeps else None for pool in pools.drafts]
        return Paging(pools, self.target, drafts)


def deploy(
    scenario: Scenario,
    base_dir: Path,
    progress: Progress | None = None,
    *,
    packings: Sequence[str] | None = None,
    kernel: str = "auto",
    draft_priority: int = 0,
    buckets: Mapping[str, Buckets] | None = None,
) -> Deployment:
    """Load the models, give each a KV cache, capture graphs.

    ``packings``: those that runs will use; by default the scenario's. ``draft_priority``: of drafts' kernels
    beside the target's (as of CUDA streams: -1 goes first). ``buckets`` of rows and tokens by model, the
    target's under ``"target"``; by default those that the scenario's costs are charged for. Raises InputError
    for what a live run cannot do, before anything runs.
    """
    refuse_simulated_only(scenario)
    if buckets is None:
        captured = scenario.live.graphs and not all(device.on_cpu for device in scenario.devices.values())
        buckets = buckets_of(scenario, base_dir) if captured else {}
    divided = Divided(scenario) if len(scenario.placement.target) > 1 else None
    try:
        models = load_models(scenario, base_dir, progress)
        if divided is not None:
            divided.load(models.outlines[TARGET], models.outlines)
        loaded = {TARGET: models.target, **models.drafts}
        layouts = _measure(scenario, loaded, {} if divided is None else divided.free)
        plan = _plan(scenario, kernel)
        plans = {name: replace(plan, buckets=buckets.get(name, USUAL)) for name in loaded}
        runners = _runners(loaded, layouts, plans, divided)
        _ready_drafts(scenario, runners, draft_priority)
        packing = scenario.policies.packing
        executed = packings or executed_by(packing.name, packing.params.get("among"))
        _capture(runners, executed, _predicts(scenario), progress)
    except BaseException:
        if divided is not None:
            divided.close()
        raise
    target = runners.pop(TARGET)
    tokens = {name: layout.tokens(scenario.limits.context_tokens) for name, layout in layouts.items()}
    slots = {name: layout.slots for name, layout in layouts.items()}
    return Deployment(models, target, tuple(runners.values()), tokens, slots, plan.sampling)


def _plan(scenario: Scenario, kernel: str) -> RunnerPlan:
    asked, limits, live = scenario.sampling, scenario.limits, scenario.live
    sampling = Sampling(0.0 if asked.greedy else asked.temperature, top_p=asked.top_p, seed=scenario.seed)
    return RunnerPlan(limits.batch, limits.max_length, sampling, live.graphs, live.prompt_graphs, kernel)


def _runners(
    loaded: Mapping[str, LoadedModel],
    layouts: Mapping[str, Layout],
    plans: Mapping[str, RunnerPlan],
    divided: Divided | None,
) -> dict[str, Runner]:
    """By model; the target first, since heads read what it computes."""
    runners: dict[str, Runner] = {}
    for name, model in loaded.items():
        layout, plan = layouts[name], plans[name]
        if divided is not None and name == TARGET:
            runners[name] = divided.runner(layout, plan)
        elif divided is not None and name in divided.hosted:
            runners[name] = divided.hosted_runner(name, layout, plan)
        elif isinstance(model, LoadedHead):
            key = f"models.drafts.{name}"
            runners[name] = make_head_runner(model, runners[TARGET], layout, plan, key=key)
        else:
            runners[name] = make_runner(model, layout, plan)
    if divided is not None:
        divided.serve()  # before anything is asked of a runner in another process
    return runners


def _ready_drafts(scenario: Scenario, runners: Mapping[str, Runner], priority: int) -> None:
    """What has to be known of drafts before anything is captured."""
    reads = reads_entropies(KINDS["length"].get(scenario.policies.length.name))
    for name, runner in runners.items():
        if name == TARGET:
            continue
        if isinstance(runner, GraphedRunner):
            runner.recorder.priority = priority
        if reads and isinstance(runner, TellsEntropies):
            runner.tell_entropies()


def _measure(
    scenario: Scenario, loaded: Mapping[str, LoadedModel], free: Mapping[str, int]
) -> dict[str, Layout]:
    """How each model's cache is laid out: equally large for the models of a device.

    ``free``: bytes left on devices of a target on several. Its cache is what the fullest of them can hold.
    """
    places: dict[str, tuple[str, ...]] = {TARGET: scenario.placement.target}
    places |= {name: (device,) for name, device in placed_drafts(scenario).items()}
    layouts: dict[str, list[Layout]] = {name: [] for name in loaded}
    for device in scenario.devices:
        here = {name: loaded[name] for name in loaded if device in places[name]}
        if not here:
            continue
        capacity = measure(
            list(here.values()),
            scenario.limits,
            page_tokens=scenario.kv.paged_by or None,
            fraction=scenario.kv.memory_fraction,
            budget=_free_bytes(scenario, device, list(here.values()), free.get(device)),
        )
        for name in here:
            given = "target_tokens" if name == TARGET else "draft_tokens"
            layouts[name].append(capacity.layout(getattr(scenario.kv, given), f"kv.{given}"))
    return {name: least(found) for name, found in layouts.items()}


def _free_bytes(scenario: Scenario, device: str, models: Sequence[LoadedModel], left: int | None) -> int:
    """What is free beside the models of a device; ``left``: as its rank found it.

    Raises InputError where the scenario's ``memory_gib`` does not hold their weights.
    """
    spec = scenario.devices[device]
    if spec.on_cpu:
        found = CPU_BUDGET_BYTES
    else:
        found = free_memory(torch_device(scenario, device)) if left is None else left
    if spec.memory_gib is None:
        return found
    weights = sum(model.held_bytes for model in models)
    room = int(spec.memory_gib * 2**30) - weights
    if room <= 0:
        raise InputError(
            f"{spec.memory_gib:g} GiB do not hold the weights placed there, {weights / 2**30:.2f} GiB; "
            "more, or fewer models",
            key=f"devices.{device}.memory_gib",
        )
    return room if spec.on_cpu else min(room, found)


def _predicts(scenario: Scenario) -> bool:
    """Does the selector ask for what drafts would have said? (Another one's catch-ups then run eagerly.)"""
    chosen = scenario.policies.selector
    selector = KINDS["selector"].get(chosen.name)
    return bool(getattr(selector, "full_information", False) or chosen.params.get("reads"))


def _capture(
    runners: Mapping[str, Runner], packings: Sequence[str], predict: bool, progress: Progress | None
) -> None:
    for name, runner in runners.items():

        def report(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(f"capture {name}", done, total)

        runner.capture("target" if name == TARGET else "draft", packings, report, predict=predict)
