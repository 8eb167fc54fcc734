"""From a loaded model to its runner: decoder, cache, graphs."""

from __future__ import annotations

from spinsim.runner.decoder import Decoder, TransformersDecoder
from spinsim.runner.eager import ModelRunner
from spinsim.runner.fused import LeanDecoder, is_lean
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout, SlotCache
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.plan import RunnerPlan


def make_runner(
    model: LoadedModel, layout: Layout, plan: RunnerPlan, *, lean: bool | None = None
) -> ModelRunner:
    """The runner of ``model`` with a cache on its device.

    ``lean`` None: the fused decoder wherever it computes the architecture exactly. Raises InputError for a
    kernel that cannot run here.
    """
    cache = cache_of(model, layout)
    if is_lean(model) if lean is None else lean:
        return runner_over(LeanDecoder(model, cache.slot_tokens), cache, plan)
    return runner_over(TransformersDecoder(model), cache, plan)


def cache_of(model: LoadedModel, layout: Layout) -> SlotCache:
    """An empty K/V cache for a model in memory, on its device and of its type."""
    shape = model.layers, model.kv_heads, model.head_dim
    return SlotCache.of(layout, *shape, device=model.module.device, dtype=model.module.dtype)


def runner_over(decoder: Decoder, cache: SlotCache, plan: RunnerPlan) -> ModelRunner:
    """A runner of any decoder."""
    if not plan.graphs or cache.device.type != "cuda":
        return ModelRunner(decoder, cache, kernel=plan.kernel)
    return GraphedRunner(decoder, cache, plan)
