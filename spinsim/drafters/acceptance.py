"""The acceptance field of a scenario whose drafts are of several kinds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spinsim.acceptance import for_scenario
from spinsim.acceptance.cached import CachedField
from spinsim.acceptance.entropies import Stops
from spinsim.acceptance.field import Offer
from spinsim.acceptance.matches import ModelledLookups
from spinsim.drafters.for_scenario import drafters_of
from spinsim.drafters.replay import reader
from spinsim.errors import InputError
from spinsim.scenario import Scenario
from spinsim.workload.request import Workload


def build_field(
    scenario: Scenario, workload: Workload, base_dir: Path, *, noise_seed: int | None = None
) -> CachedField:
    """As :func:`spinsim.acceptance.for_scenario.build_field`.

    Drafts that propose out of token ids are replayed on them, where they are recorded.
    """
    drafters = drafters_of(scenario)
    readers = {
        name: reader(drafter, scenario.limits.batch)
        for name, drafter in drafters.items()
        if drafter.lookup() is not None
    }
    field = for_scenario.build_field(scenario, workload, base_dir, noise_seed=noise_seed, readers=readers)
    if getattr(scenario.acceptance, "matches", "unknown") == "modelled":
        drafts = list(scenario.models.drafts)
        longest = {drafts.index(name): int(drafters[name].keys.longest) for name in readers}
        positions = for_scenario.positions_of(scenario, workload)
        modelled = ModelledLookups(field, longest, len(drafts), positions, scenario.seed)
        field.lookups, field.offers = modelled, modelled.offers
    return field


def offers_of(scenario: Scenario, workload: Workload, field: CachedField) -> Mapping[int, Offer]:
    """By draft that may have less to propose than it is asked for: how much, for a simulated world."""
    if not workload.requests:
        return {}
    prompts = [request.prompt_tokens for request in workload.requests]

    def offer(draft: int) -> Offer:
        def tokens(request: int, context: int) -> int:
            offered = field.offered(request, draft)
            assert offered is not None
            return offered[context - prompts[request]]

        return tokens

    first = workload.requests[0].id
    known = range(len(scenario.models.drafts))
    return {draft: offer(draft) for draft in known if field.offered(first, draft) is not None}


def stops_of(field: CachedField, workload: Workload) -> Stops:
    """Where proposals end by their entropy, for a length policy that reads it.

    Raises InputError where the acceptance does not say how sure drafts were.
    """
    if field.entropies is None:
        raise InputError(
            "the recording keeps no entropies of its drafts, by which the length policy ends proposals; "
            "a recording made anew by `spinsim trace`, another length policy, modelled acceptance, or "
            "acceptance.entropies: modelled",
            key="policies.length.name",
        )
    return Stops(field.entropies, [request.prompt_tokens for request in workload.requests])
