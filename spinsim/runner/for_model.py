"""From a loaded model to its runner: decoder, cache, graphs."""

from __future__ import annotations

from dataclasses import dataclass

from spinsim.buckets import USUAL, Buckets
from spinsim.runner.decoder import Decoder, TransformersDecoder
from spinsim.runner.eager import ModelRunner
from spinsim.runner.fused import LeanDecoder, is_lean
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import SlotCache
from spinsim.runner.loaded_model import LoadedModel
from spinsim.runner.sampling import GREEDY, Sampling


@dataclass(frozen=True, slots=True)
class RunnerPlan:
    """What a runner is to be able to do, whatever its model; see :func:`make_runner`."""

    max_rows: int
    max_length: int
    sampling: Sampling = GREEDY
    graphs: bool = True
    prompt_graphs: bool = True
    kernel: str = "auto"
    buckets: Buckets = USUAL


def make_runner(
    model: LoadedModel,
    *,
    slots: int,
    slot_tokens: int,
    page_tokens: int | None = None,
    pages: int | None = None,
    max_rows: int,
    max_length: int,
    sampling: Sampling = GREEDY,
    graphs: bool = True,
    kernel: str = "auto",
    prompt_graphs: bool = True,
    buckets: Buckets = USUAL,
    lean: bool | None = None,
) -> ModelRunner:
    """The runner of ``model`` with a cache of ``slots`` slots (and the trash slot) on its device.

    ``page_tokens``, ``pages``: see :class:`~spinsim.runner.kv.SlotCache`; by default slots are whole.
    ``max_rows`` rows in one call at most, ``max_length`` proposed tokens a row. ``graphs`` counts
    on CUDA alone, on ``buckets``, and ``prompt_graphs`` (prefill, catch-up) with it alone. ``lean`` None: the
    fused decoder wherever it computes the architecture exactly. Raises InputError for a kernel that cannot
    run here.
    """
    module = model.module
    fused = is_lean(model) if lean is None else lean
    cache = SlotCache(
        model.layers,
        slots,
        slot_tokens,
        model.kv_heads,
        model.head_dim,
        page_tokens=page_tokens,
        pages=pages,
        device=module.device,
        dtype=module.dtype,
    )
    vocabulary, heads = model.vocabulary, model.heads
    scale = model.head_dim**-0.5
    decoder: Decoder
    if fused:
        decoder = LeanDecoder(model, cache.slot_tokens)
        scale = decoder.scale
    else:
        decoder = TransformersDecoder(model)
    plan = RunnerPlan(max_rows, max_length, sampling, graphs, prompt_graphs, kernel, buckets)
    return runner_over(decoder, cache, plan, vocabulary=vocabulary, heads=heads, scale=scale)


def runner_over(
    decoder: Decoder, cache: SlotCache, plan: RunnerPlan, *, vocabulary: int, heads: int, scale: float
) -> ModelRunner:
    """A runner of any decoder. ``heads`` query heads are on its device; ``scale`` is that of its scores."""
    if not plan.graphs or cache.device.type != "cuda":
        return ModelRunner(decoder, cache, kernel=plan.kernel)
    return GraphedRunner(
        decoder,
        cache,
        max_rows=plan.max_rows,
        max_length=plan.max_length,
        vocabulary=vocabulary,
        heads=heads,
        scale=scale,
        sampling=plan.sampling,
        kernel=plan.kernel,
        prompt_graphs=plan.prompt_graphs,
        buckets=plan.buckets,
    )
