"""The drafters of a scenario, and the scenario without those that are no models."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spinsim.drafters import head, model, ngram, suffix
from spinsim.drafters.base import Drafter, Lookup
from spinsim.drafters.registry import KINDS, MODEL
from spinsim.errors import InputError, did_you_mean
from spinsim.scenario import (
    ConstantCosts,
    DrafterChoice,
    DraftSpec,
    LinearCosts,
    PoliciesSpec,
    PolicyChoice,
    Scenario,
)
from spinsim.scenario.messages import Problem, explain, one_of

BUILT_IN = (model, ngram, suffix, head)  # importing them registers their kinds


def drafter_of(name: str, spec: DraftSpec | DrafterChoice) -> Drafter:
    """The drafter that a draft of the scenario describes. Raises InputError at the first wrong key."""
    for path, message in _problems_of_keys(name, spec):
        raise InputError(message, key=".".join(path))
    cls = KINDS[spec.kind]
    keys = spec if isinstance(spec, DraftSpec) else cls.Keys.model_validate(spec.keys, strict=True)
    return cls(name, spec, keys)


def other_kinds() -> dict[str, type[Drafter]]:
    """Kinds that ship and are no models, by name."""
    modules = {module.__name__ for module in BUILT_IN}
    return {name: cls for name, cls in KINDS.items() if name != MODEL and cls.__module__ in modules}


def drafters_of(scenario: Scenario) -> dict[str, Drafter]:
    """Every draft of the scenario, in its order."""
    return {name: drafter_of(name, spec) for name, spec in scenario.models.drafts.items()}


def lookups_of(scenario: Scenario) -> dict[int, Callable[[], Lookup]]:
    """What makes the lookups of a live run, by draft."""

    def maker(drafter: Drafter) -> Callable[[], Lookup]:
        def make() -> Lookup:
            lookup = drafter.lookup()
            assert lookup is not None
            return lookup

        return make

    drafters = enumerate(drafters_of(scenario).values())
    return {number: maker(drafter) for number, drafter in drafters if drafter.lookup() is not None}


def drafter_problems(scenario: Scenario, base_dir: Path) -> Iterator[Problem]:
    """What is wrong with the keys of drafts that are no models."""
    for name, spec in scenario.models.drafts.items():
        found = list(_problems_of_keys(name, spec))
        yield from found
        if not found:
            try:
                drafter_of(name, spec).check(scenario, base_dir)
            except InputError as error:
                yield Problem(tuple((error.key or f"models.drafts.{name}").split(".")), error.message)


def _problems_of_keys(name: str, spec: DraftSpec | DrafterChoice) -> Iterator[Problem]:
    if isinstance(spec, DraftSpec):
        return
    at = ("models", "drafts", name)
    cls = KINDS.get(spec.kind)
    if cls is None:
        names = sorted(KINDS)
        said = f"{spec.kind!r} is no kind of drafter; {one_of(names)}{did_you_mean(spec.kind, names)}"
        yield Problem((*at, "kind"), said)
        return
    try:
        cls.Keys.model_validate(spec.keys, strict=True)
    except ValidationError as error:
        for problem in explain(error, cls.Keys):
            yield Problem((*at, *problem.path), problem.message)


def is_model(spec: DraftSpec | DrafterChoice) -> bool:
    """Is the draft a model with a shape, that is loaded and priced by it?"""
    return isinstance(spec, DraftSpec)


def models_alone(scenario: Scenario) -> Scenario:
    """The scenario without drafts that are no models: the very same where there are none.

    What deals in models alone (their shapes, their profile, their weights) is given this.
    """
    drafts = scenario.models.drafts
    kept = scenario.models.draft_models
    if len(kept) == len(drafts):
        return scenario
    placed = {name: device for name, device in scenario.placement.drafts.items() if name in kept}
    update: dict[str, Any] = {
        "models": scenario.models.model_copy(update={"drafts": kept}),
        "placement": scenario.placement.model_copy(update={"drafts": placed}),
    }
    costs = scenario.costs
    if isinstance(costs, ConstantCosts) and isinstance(costs.draft_step_s, dict):
        steps = {name: s for name, s in costs.draft_step_s.items() if name not in drafts or name in kept}
        update["costs"] = costs.model_copy(update={"draft_step_s": steps})
    if isinstance(costs, LinearCosts):
        fits = {name: fit for name, fit in costs.drafts.items() if name not in drafts or name in kept}
        update["costs"] = costs.model_copy(update={"drafts": fits})
    update["policies"] = _naming_only(scenario.policies, kept, drafts)
    return scenario.model_copy(update=update)


def _naming_only(policies: PoliciesSpec, kept: Container[str], drafts: Container[str]) -> PoliciesSpec:
    """The policies without what they say of drafts that are left out."""
    selector, length = policies.selector, policies.length
    named, tokens = selector.params.get("draft"), length.params.get("tokens")
    if named in drafts and named not in kept:
        selector = PolicyChoice(name=selector.name)
    if isinstance(tokens, Mapping):
        left = {name: count for name, count in tokens.items() if name not in drafts or name in kept}
        length = length.model_copy(update={"tokens": left})
    return policies.model_copy(update={"selector": selector, "length": length})
