"""From a scenario to an engine at work: lanes, limits, K/V memory and policies, for every world alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spinsim.acceptance.field import AcceptanceField
from spinsim.costs.base import Predictor
from spinsim.drafters.base import HOST
from spinsim.drafters.for_scenario import drafters_of
from spinsim.engine.engine import Engine
from spinsim.engine.kv import KvPools, kv_pools
from spinsim.engine.processes import start
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import Lane, Lookups, World
from spinsim.errors import InputError, reason_of
from spinsim.policies.base import PolicyContext
from spinsim.policies.build import Policies, build_policies
from spinsim.scenario import ProfileCosts, Scenario
from spinsim.workload.request import PREFIX_BLOCK, Workload
from spinsim.workload.source import resolve


class Layout(NamedTuple):
    """Lanes, and which model runs on which. ``remote[d]``: draft d is away from the target's device."""

    lanes: tuple[Lane, ...]
    target_lane: int
    draft_lanes: tuple[int, ...]
    remote: tuple[bool, ...]


def lay_out(scenario: Scenario) -> Layout:
    """On a GPU a lane for the target and one for each draft (or for all of them); on a CPU one for all.

    Drafters of the host share one lane there, since Python looks up one proposal at a time.
    """
    placement = scenario.placement
    lanes = [Lane(f"{'+'.join(placement.target)}/target", placement.target)]
    on_cpu = {name: device.on_cpu for name, device in scenario.devices.items()}
    shared: dict[str, int] = {}  # lane by device, where one lane serves several models
    if all(on_cpu[device] for device in placement.target):
        shared.update(dict.fromkeys(placement.target, 0))
    draft_lanes: list[int] = []
    remote: list[bool] = []
    on_cpu[HOST] = True
    for draft, drafter in drafters_of(scenario).items():
        if drafter.home == "target":
            draft_lanes.append(0)
            remote.append(False)
            continue
        device = drafter.device(scenario)
        own = placement.draft_lanes == "own" and not on_cpu[device]
        if own or device not in shared:
            lanes.append(Lane(f"{device}/{draft if own else 'drafts'}", (device,)))
        if not own:
            shared.setdefault(device, len(lanes) - 1)
        draft_lanes.append(len(lanes) - 1 if own else shared[device])
        # Ids that were looked up are the host's already, as every proposal's are when it is verified.
        remote.append(device != HOST and device not in placement.target)
    return Layout(tuple(lanes), 0, tuple(draft_lanes), tuple(remote))


def engine_settings(scenario: Scenario, layout: Layout, kv_tokens: Mapping[str, int]) -> EngineSettings:
    """``kv_tokens``: capacity per model, the target's under ``"target"``."""
    return EngineSettings(
        drafts=tuple(scenario.models.drafts),
        target_lane=layout.target_lane,
        draft_lanes=layout.draft_lanes,
        batch_limit=scenario.limits.batch,
        context_tokens=scenario.limits.context_tokens,
        prefill_chunk_tokens=scenario.limits.prefill_chunk_tokens,
        max_length=scenario.limits.max_length,
        overlapped=scenario.policies.switching == "overlapped",
        reserve=scenario.kv.reserve,
        block_tokens=scenario.kv.block_tokens,
        target_kv_tokens=kv_tokens["target"],
        draft_kv_tokens=tuple(
            kv_tokens[draft] if drafter.keeps_kv else None for draft, drafter in drafters_of(scenario).items()
        ),
        merged_prefill=scenario.limits.prefill == "merged",
        prefix_block_tokens=PREFIX_BLOCK if scenario.kv.prefix_cache else 0,
    )


def trusting(scenario: Scenario) -> Scenario:
    """The scenario, with roofline for what its profile does not hold, whatever it allows.

    For live runs: they report nothing predicted, and policies must believe in something on any machine.
    """
    if not isinstance(scenario.costs, ProfileCosts):
        return scenario
    costs = scenario.costs.model_copy(update={"allow_roofline": True})
    return scenario.model_copy(update={"costs": costs})


def _trained(scenario: Scenario, base_dir: Path) -> Mapping[str, Any] | None:
    """What the selector's parameter ``trained`` names: policies open no files."""
    given = scenario.policies.selector.params.get("trained")
    if given is None:
        return None
    key = "policies.selector.trained"
    path = resolve(str(given), base_dir, key)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {reason_of(error)}; a file that training wrote", key=key
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); a file that training wrote", key=key) from error
    if not isinstance(state, dict) or not isinstance(state.get("drafts"), dict):
        raise InputError(f"{path} holds no drafts; a file that training wrote", key=key)
    return state


def policies_for(
    scenario: Scenario,
    layout: Layout,
    predictor: Predictor,
    base_dir: Path,
    *,
    future: AcceptanceField | None = None,
    workload: Workload | None = None,
) -> Policies:
    """The scenario's policies; only a class that declares ``sees_future`` is handed the future."""
    drafts = scenario.models.drafts
    drafters = drafters_of(scenario).values()
    context = PolicyContext(
        drafts=tuple(drafts),
        draft_lanes=layout.draft_lanes,
        draft_devices=tuple(drafter.device(scenario) for drafter in drafters),
        target_devices=tuple(scenario.placement.target),
        draft_sizes=tuple(drafter.parameters(scenario, base_dir) for drafter in drafters),
        capacities=tuple(spec.capacity for spec in drafts.values()),
        allow_none=scenario.policies.allow_none,
        max_length=scenario.limits.max_length,
        batch_limit=scenario.limits.batch,
        context_tokens=scenario.limits.context_tokens,
        seed=scenario.seed,
        predictor=predictor,
        future=future,
        outputs=None if workload is None else [request.output_tokens for request in workload.requests],
        trained=_trained(scenario, base_dir),
    )
    return build_policies(scenario.policies, context)


@dataclass(frozen=True)
class Serving:
    """The engine's side of one run. Policies and pools have state: a second run needs another one."""

    layout: Layout
    settings: EngineSettings
    pools: KvPools
    policies: Policies

    def start(
        self,
        world: World,
        workload: Workload,
        *,
        ended: Callable[[int], None] | None = None,
        lookups: Lookups | None = None,
    ) -> Engine:
        """An engine with its processes: run the world's environment until its ``done`` triggers.

        ``ended`` is called with the number of requests that have ended; ``lookups`` as of :class:`Engine`.
        """
        engine = Engine(
            world,
            workload,
            self.policies,
            self.settings,
            ended=ended,
            pools=self.pools,
            lookups=lookups,
        )
        start(engine)
        return engine


def assemble(
    scenario: Scenario,
    base_dir: Path,
    predictor: Predictor,
    kv_tokens: Mapping[str, int],
    *,
    future: AcceptanceField | None = None,
    workload: Workload | None = None,
) -> Serving:
    """What serves a scenario. Policies believe in ``predictor``; ``kv_tokens`` as of :func:`engine_settings`.

    ``future`` and ``workload`` are for policies that declare to see the future. Raises InputError as policies
    do, and ValueError where the target's K/V memory holds no request of the whole context.
    """
    layout = lay_out(scenario)
    settings = engine_settings(scenario, layout, kv_tokens)
    policies = policies_for(scenario, layout, predictor, base_dir, future=future, workload=workload)
    return Serving(layout, settings, kv_pools(settings), policies)
