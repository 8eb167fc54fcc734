"""Models in memory with their caches: made once, used by any number of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from spinsim.engine.world import Lane
from spinsim.errors import InputError
from spinsim.live.executor import LaneDevice, TorchExecutor
from spinsim.live.models import Models, load_models, torch_device
from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import TransformersDecoder
from spinsim.live.runner.forward import ModelRunner
from spinsim.live.runner.loading import DTYPES, LoadedModel
from spinsim.live.runner.sampling import Sampling
from spinsim.scenario import ModelSpec, Scenario

Progress = Callable[[str, float, float], None]


@dataclass(frozen=True)
class Deployment:
    """``kv_tokens`` and ``kv_slots`` per model, the target's under ``"target"``."""

    models: Models
    target: ModelRunner
    drafts: tuple[ModelRunner, ...]
    kv_tokens: dict[str, int]
    kv_slots: dict[str, int]

    def executor(self, scenario: Scenario, lanes: Sequence[Lane]) -> TorchExecutor:
        """An executor whose lanes have streams of their own."""
        places = []
        for lane in lanes:
            device = torch_device(scenario, lane.devices[0])
            stream = torch.cuda.Stream(device) if device.type == "cuda" else None
            places.append(LaneDevice(device, stream))
        sampling = Sampling(
            temperature=scenario.sampling.temperature, top_p=scenario.sampling.top_p, seed=scenario.seed
        )
        return TorchExecutor(self.target, self.drafts, places, sampling)


def deploy(scenario: Scenario, base_dir: Path, progress: Progress | None = None) -> Deployment:
    """Load the models and give each a slot KV cache.

    Raises InputError for what a live run cannot do, before anything runs.
    """
    if scenario.kv.reserve != "full":
        raise InputError("is simulated only; a live run reserves whole slots: full", key="kv.reserve")
    models = load_models(scenario, base_dir, progress)
    context = scenario.limits.context_tokens
    slots = scenario.limits.batch
    kv_slots = dict.fromkeys(["target", *models.drafts], slots)
    target = _runner(models.target, scenario.models.target, context, slots)
    drafts = tuple(
        _runner(model, scenario.models.drafts[name], context, slots) for name, model in models.drafts.items()
    )
    return Deployment(
        models, target, drafts, {name: count * context for name, count in kv_slots.items()}, kv_slots
    )


def _runner(model: LoadedModel, spec: ModelSpec, context: int, slots: int) -> ModelRunner:
    decoder = TransformersDecoder(model)
    cache = SlotCache(
        model.layers,
        slots,
        context,
        model.kv_heads,
        model.head_dim,
        device=decoder.device,
        dtype=DTYPES[spec.dtype],
    )
    return ModelRunner(decoder, cache)


__all__ = ["Deployment", "deploy", "torch"]
