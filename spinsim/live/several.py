"""The target over several devices: its ranks, its shares, and what is left beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinsim.costs.for_scenario import target_hardware
from spinsim.live.places import torch_device
from spinsim.runner.for_model import RunnerPlan
from spinsim.runner.kv import round_up
from spinsim.runner.kv_capacity import Layout, slot_tokens
from spinsim.runner.sharded.collectives import Collectives
from spinsim.runner.sharded.follower import free_bytes
from spinsim.runner.sharded.leader import ShardedRunner
from spinsim.runner.sharded.orders import Build
from spinsim.runner.sharded.outline import Outline
from spinsim.runner.sharded.ranks import Ranks
from spinsim.scenario import Scenario


class Divided:
    """A target that is divided over ``placement.target``. Its ranks' processes start at once.

    Raises InputError for devices of different kinds.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.names = scenario.placement.target
        self.devices = _alike(scenario)
        self.free: dict[str, int] = {}  # bytes left on each GPU, once the shares are loaded
        limits = scenario.limits
        longest = slot_tokens(limits.context_tokens, limits.max_length)
        self._positions = round_up(longest, scenario.kv.block_tokens)
        self._ranks = Ranks(self.names, self.devices)
        self._collectives: Collectives | None = None

    def load(self, outline: Outline) -> None:
        """Every rank loads its share, all at a time. Raises RankError."""
        order = outline.load(self._positions)
        self._collectives = self._ranks.meet()
        self._ranks.order(order)
        self._share, self._weights = order.carry_out(0, tuple(map(str, self.devices)))
        free = [free_bytes(self.devices[0]), *self._ranks.answers()]
        self.free = {name: left for name, left in zip(self.names, free, strict=True) if left is not None}

    def runner(self, layout: Layout, plan: RunnerPlan) -> ShardedRunner:
        """The runner that leads all ranks, whose caches are laid out alike. Raises RankError."""
        order = Build(layout.slots, layout.slot_tokens, layout.page_tokens, layout.pages, plan)
        self._ranks.order(order)
        assert self._collectives is not None
        local = order.carry_out(self._share, self._weights, self._collectives)
        self._ranks.answers()
        return ShardedRunner(local, self._ranks, self._collectives)

    def close(self) -> None:
        """End the ranks' processes, where no runner leads them."""
        if self._collectives is not None:
            self._collectives.abort()
        self._ranks.close()


def _alike(scenario: Scenario) -> Sequence[torch.device]:
    """The target's torch devices, of one kind. Raises InputError where their sheets differ."""
    target_hardware(scenario)
    return [torch_device(scenario, name) for name in scenario.placement.target]


def least(layouts: Sequence[Layout]) -> Layout:
    """The cache that every one of these devices can hold."""
    return min(layouts, key=lambda layout: (layout.pages or 0, layout.slots))
