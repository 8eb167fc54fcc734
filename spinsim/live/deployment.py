"""Models in memory with their caches and graphs: made once, used by any number of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from spinsim.engine.world import Lane
from spinsim.errors import InputError
from spinsim.live.executor import LaneDevice, TorchExecutor
from spinsim.live.load import Models, load_models, torch_device
from spinsim.policies.build import KINDS
from spinsim.runner.eager import ModelRunner
from spinsim.runner.for_model import make_runner
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv_capacity import measure, slot_tokens
from spinsim.runner.loading import LoadedModel
from spinsim.runner.sampling import Sampling
from spinsim.scenario import Scenario

Progress = Callable[[str, float, float], None]
TARGET = "target"
CPU_BUDGET_BYTES = 4 * 2**30  # K/V on a CPU: a fixed share of the host's memory, since runs there are small


@dataclass(frozen=True)
class Deployment:
    """``kv_tokens`` and ``kv_slots`` per model, the target's under ``"target"``.

    ``sampling`` is fixed here: graphs are captured for it.
    """

    models: Models
    target: ModelRunner
    drafts: tuple[ModelRunner, ...]
    kv_tokens: dict[str, int]
    kv_slots: dict[str, int]
    sampling: Sampling
    _streams: dict[tuple[int, torch.device], torch.cuda.Stream] = field(default_factory=dict)

    def executor(self, scenario: Scenario, lanes: Sequence[Lane]) -> TorchExecutor:
        """An executor whose lanes have streams of their own, the same ones in every run.

        torch hands out 32 streams a device in turn: after enough runs a lane's would be the one that
        another lane's graphs are captured on. Memory is cached by stream besides.
        """
        places = []
        for number, lane in enumerate(lanes):
            device = torch_device(scenario, lane.devices[0])
            stream = None
            if device.type == "cuda":
                if (number, device) not in self._streams:
                    stream_of: Any = torch.cuda.Stream
                    self._streams[number, device] = stream_of(device)
                stream = self._streams[number, device]
            places.append(LaneDevice(device, stream))
        return TorchExecutor(self.target, self.drafts, places, self.sampling)


def deploy(
    scenario: Scenario,
    base_dir: Path,
    progress: Progress | None = None,
    *,
    packings: Sequence[str] | None = None,
    kernel: str = "auto",
) -> Deployment:
    """Load the models, give each a slot KV cache, capture graphs.

    ``packings``: those that runs will use; by default the scenario's. Raises InputError for what
    a live run cannot do, before anything runs.
    """
    if scenario.kv.reserve != "full":
        raise InputError("is simulated only; a live run reserves whole slots: full", key="kv.reserve")
    models = load_models(scenario, base_dir, progress)
    loaded = {TARGET: models.target, **models.drafts}
    slots = _measure_slots(scenario, loaded)
    sampling = Sampling(
        temperature=scenario.sampling.temperature, top_p=scenario.sampling.top_p, seed=scenario.seed
    )
    runners = {
        name: make_runner(
            model,
            slots=slots[name],
            slot_tokens=_slot_tokens(scenario),
            max_rows=scenario.limits.batch,
            max_length=scenario.limits.max_length,
            sampling=sampling,
            graphs=scenario.live.graphs,
            prompt_graphs=scenario.live.prompt_graphs,
            kernel=kernel,
        )
        for name, model in loaded.items()
    }
    _capture(runners, packings or (scenario.policies.packing.name,), _predicts(scenario), progress)
    target = runners.pop(TARGET)
    tokens = {name: count * scenario.limits.context_tokens for name, count in slots.items()}
    return Deployment(models, target, tuple(runners.values()), tokens, slots, sampling)


def _slot_tokens(scenario: Scenario) -> int:
    return slot_tokens(scenario.limits.context_tokens, scenario.limits.max_length)


def _measure_slots(scenario: Scenario, loaded: Mapping[str, LoadedModel]) -> dict[str, int]:
    """Slots of each model: equally many for the models of a device, at most one a request of the batch."""
    places = {TARGET: scenario.placement.target[0], **scenario.placement.drafts}
    given = {TARGET: scenario.kv.target_tokens}
    slots: dict[str, int] = {}
    for device in scenario.devices:
        here = {name: loaded[name] for name in loaded if places[name] == device}
        if not here:
            continue
        on_cpu = scenario.devices[device].hardware == "cpu"
        capacity = measure(
            list(here.values()),
            _slot_tokens(scenario),
            fraction=scenario.kv.memory_fraction,
            limit=scenario.limits.batch,
            budget=CPU_BUDGET_BYTES if on_cpu else None,
        )
        for name in here:
            asked = given.get(name, scenario.kv.draft_tokens)
            wanted = capacity.slots if asked is None else asked // scenario.limits.context_tokens
            slots[name] = min(wanted, capacity.slots)
    return {name: slots[name] for name in loaded}


def _predicts(scenario: Scenario) -> bool:
    """Does the selector ask for what drafts would have said? (Another one's catch-ups then run eagerly.)"""
    selector = KINDS["selector"].get(scenario.policies.selector.name)
    return bool(getattr(selector, "full_information", False))


def _capture(
    runners: Mapping[str, ModelRunner], packings: Sequence[str], predict: bool, progress: Progress | None
) -> None:
    for name, runner in runners.items():
        if not isinstance(runner, GraphedRunner):
            continue

        def report(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(f"capture {name}", done, total)

        runner.capture("target" if name == TARGET else "draft", packings, report, predict=predict)
