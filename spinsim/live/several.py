"""The target over several devices: its ranks, its shares, and what is left beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from spinsim.costs.for_scenario import target_hardware
from spinsim.live.places import torch_device
from spinsim.runner.kv import Layout, round_up
from spinsim.runner.kv_capacity import slot_tokens
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.sharded.collectives import Collectives
from spinsim.runner.sharded.follower import free_bytes
from spinsim.runner.sharded.hosted import HostedRunner
from spinsim.runner.sharded.leader import ShardedRunner
from spinsim.runner.sharded.orders import Build, Serve
from spinsim.runner.sharded.outline import Outline
from spinsim.runner.sharded.ranks import Ranks
from spinsim.scenario import Scenario


class Divided:
    """A target that is divided over ``placement.target``. Its ranks' processes start at once.

    ``hosted``: the drafts that lie on its devices but the first, with the rank and their number there. They
    are in that rank's process, where they overlap with the target's share. Raises InputError for devices of
    different kinds.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.names = scenario.placement.target
        self.devices = _alike(scenario)
        self.free: dict[str, int] = {}  # bytes left on each GPU, once all is loaded
        self.hosted = hosted_drafts(scenario)
        limits = scenario.limits
        longest = slot_tokens(limits.context_tokens, limits.max_length)
        self._positions = round_up(longest, scenario.kv.block_tokens)
        counts = Counter(rank for rank, _ in self.hosted.values())
        self._ranks = Ranks(self.names, self.devices, [counts[rank] for rank in range(len(self.names))])
        self._collectives: Collectives | None = None

    def load(self, target: Outline, drafts: Mapping[str, Outline]) -> None:
        """Every rank loads its share, all at a time, then the drafts beside it. Raises RankError."""
        order = target.load(self._positions)
        self._collectives = self._ranks.meet()
        self._ranks.order(order)
        self._held = order.carry_out(0, tuple(map(str, self.devices)))
        free = [free_bytes(self.devices[0]), *self._ranks.answers()]
        for name, (rank, number) in self.hosted.items():
            self._ranks.order(replace(drafts[name].load(self._positions), draft=number), rank)
            (free[rank],) = self._ranks.answers(rank)
        self.free = {name: left for name, left in zip(self.names, free, strict=True) if left is not None}

    def runner(self, layout: Layout, plan: RunnerPlan) -> ShardedRunner:
        """The runner that leads all ranks, whose caches are laid out alike. Raises RankError."""
        order = Build(layout, plan)
        self._ranks.order(order)
        assert self._collectives is not None
        local = order.carry_out(self._held, self._collectives)
        self._ranks.answers()
        return ShardedRunner(local, self._ranks, self._collectives)

    def hosted_runner(self, name: str, layout: Layout, plan: RunnerPlan) -> HostedRunner:
        """The runner of a draft beside another rank's share. Raises RankError."""
        rank, number = self.hosted[name]
        self._ranks.order(Build(layout, plan, number), rank)
        (manner,) = self._ranks.answers(rank)
        return HostedRunner(manner, partial(self._ranks.ask, rank, number))

    def serve(self) -> None:
        """All runners are built: the ranks answer their calls from now on."""
        self._ranks.order(Serve())

    def close(self) -> None:
        """End the ranks' processes, where no runner leads them."""
        self._ranks.close()
        if self._collectives is not None:
            self._collectives.close()


def hosted_drafts(scenario: Scenario) -> dict[str, tuple[int, int]]:
    """Of each draft that is a model beside a share, but for the first: the rank, and its number there."""
    target, found, counts = scenario.placement.target, {}, Counter[int]()
    for name in scenario.models.draft_models:
        device = scenario.placement.drafts[name]
        if device in target[1:]:
            rank = target.index(device)
            found[name] = (rank, counts[rank])
            counts[rank] += 1
    return found


def _alike(scenario: Scenario) -> Sequence[torch.device]:
    """The target's torch devices, of one kind. Raises InputError where their sheets differ."""
    target_hardware(scenario)
    return [torch_device(scenario, name) for name in scenario.placement.target]


def least(layouts: Sequence[Layout]) -> Layout:
    """The cache that every one of these devices can hold."""
    return min(layouts, key=lambda layout: (layout.pages or 0, layout.slots))
