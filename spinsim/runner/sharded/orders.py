"""What a rank is told when it is started, and before it serves calls. Plain data: it crosses processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from spinsim.runner.eager import ModelRunner
from spinsim.runner.for_model import runner_over
from spinsim.runner.fused import LeanDecoder, LeanWeights
from spinsim.runner.kv import Layout, SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sharded.collectives import Collectives, Gloo
from spinsim.runner.sharded.decoder import ShardedDecoder
from spinsim.runner.sharded.shape import LeanShape, Share
from spinsim.runner.sharded.weights import Source, read_share

Held = tuple[Share, LeanWeights]


@dataclass(frozen=True, slots=True)
class Meeting:
    """How the ranks find each other: through the file ``store``, which is not there yet.

    ``devices``: of every rank, all CPUs or all GPUs of this machine. ``timeout_s``: how long one waits.
    ``plugins``: files that every rank imports, for packings that are theirs. ``symmetric``: may GPUs sum over
    symmetric memory? ``in_one_kernel``: and add and norm in the same kernel?
    """

    devices: tuple[str, ...]
    store: Path
    timeout_s: float
    plugins: tuple[str, ...] = ()
    symmetric: bool = True
    in_one_kernel: bool = True

    def join(self, rank: int) -> Collectives:
        """Meet the others; returns when all are there."""
        device = torch.device(self.devices[rank])
        if device.type == "cuda":
            from spinsim.runner.sharded.on_cuda import CudaCollectives

            return CudaCollectives(
                rank,
                len(self.devices),
                device,
                self.store,
                self.timeout_s,
                symmetric=self.symmetric,
                in_one_kernel=self.in_one_kernel,
            )
        return Gloo(rank, len(self.devices), self.store, self.timeout_s)


@dataclass(frozen=True, slots=True)
class Serve:
    """Everything is built: answer calls from now on."""


@dataclass(frozen=True)
class Load:
    """Read or make a share of a model's weights. ``draft``: the whole of the rank's draft of this number."""

    shape: LeanShape
    source: Source
    rotary: tuple[torch.Tensor, torch.Tensor]
    dtype: torch.dtype
    draft: int | None = None

    def carry_out(self, rank: int, devices: tuple[str, ...]) -> Held:
        """What ``rank`` is to hold, on its device."""
        share = Share(rank, len(devices), self.shape) if self.draft is None else Share(0, 1, self.shape)
        return share, read_share(self.source, share, self.rotary, self.dtype, torch.device(devices[rank]))


@dataclass(frozen=True, slots=True)
class Build:
    """A runner over what was loaded, with its K/V cache: the same slots and pages on every rank.

    ``draft`` as of :class:`Load`.
    """

    layout: Layout
    plan: RunnerPlan
    draft: int | None = None

    def carry_out(self, held: Held, ranks: Collectives) -> ModelRunner:
        """The rank's runner, eager or graphed."""
        share, weights = held
        shape = share.shape.layers, share.kv_heads, share.shape.head_dim
        kept = weights.embedding
        cache = SlotCache.of(self.layout, *shape, device=kept.device, dtype=kept.dtype)
        decoder: LeanDecoder
        if share.ranks > 1:
            ranks.prepare(share.shape.hidden, cache.dtype)
            decoder = ShardedDecoder(weights, share, ranks)
        else:
            decoder = LeanDecoder.over(weights)
        return runner_over(decoder, cache, self.plan)
