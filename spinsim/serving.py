"""From a scenario to the parts of a run: lanes, limits, policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from spinsim.acceptance.field import AcceptanceField
from spinsim.costs.base import Predictor
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.settings import EngineSettings
from spinsim.engine.world import Lane
from spinsim.policies.base import PolicyContext
from spinsim.policies.build import Policies, build_policies
from spinsim.scenario import ProfileCosts, Scenario
from spinsim.workload.request import Workload


class Layout(NamedTuple):
    """Lanes, and which model runs on which. ``remote[d]``: draft d is away from the target's device."""

    lanes: tuple[Lane, ...]
    target_lane: int
    draft_lanes: tuple[int, ...]
    remote: tuple[bool, ...]


def lay_out(scenario: Scenario) -> Layout:
    """At most two lanes on a GPU, the target's and the drafts'; one on a CPU."""
    target_devices = scenario.placement.target
    lanes = [Lane(f"{'+'.join(target_devices)}/target", tuple(target_devices))]
    by_device: dict[str, int] = {}
    if all(scenario.devices[d].hardware == "cpu" for d in target_devices):
        by_device.update(dict.fromkeys(target_devices, 0))
    draft_lanes: list[int] = []
    remote: list[bool] = []
    for draft in scenario.models.drafts:
        device = scenario.placement.drafts[draft]
        if device not in by_device:
            by_device[device] = len(lanes)
            lanes.append(Lane(f"{device}/drafts", (device,)))
        draft_lanes.append(by_device[device])
        remote.append(device not in target_devices)
    return Layout(tuple(lanes), 0, tuple(draft_lanes), tuple(remote))


def engine_settings(scenario: Scenario, layout: Layout, kv_tokens: Mapping[str, int]) -> EngineSettings:
    """``kv_tokens``: capacity per model, the target's under ``"target"``."""
    return EngineSettings(
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
        draft_kv_tokens=tuple(kv_tokens[draft] for draft in scenario.models.drafts),
    )


def trusting(scenario: Scenario) -> Scenario:
    """The scenario, with roofline for what its profile does not hold, whatever it allows.

    For live runs: they report nothing predicted, and policies must believe in something on any machine.
    """
    if not isinstance(scenario.costs, ProfileCosts):
        return scenario
    costs = scenario.costs.model_copy(update={"allow_roofline": True})
    return scenario.model_copy(update={"costs": costs})


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
    context = PolicyContext(
        drafts=tuple(drafts),
        draft_lanes=layout.draft_lanes,
        draft_sizes=tuple(shape_of(spec.shape, base_dir).parameters() for spec in drafts.values()),
        capacities=tuple(spec.capacity for spec in drafts.values()),
        allow_none=scenario.policies.allow_none,
        max_length=scenario.limits.max_length,
        batch_limit=scenario.limits.batch,
        context_tokens=scenario.limits.context_tokens,
        seed=scenario.seed,
        predictor=predictor,
        future=future,
        outputs=None if workload is None else [request.output_tokens for request in workload.requests],
    )
    return build_policies(scenario.policies, context)
