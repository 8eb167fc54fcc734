"""Builds the policies of one run from its scenario, and the schema that editors read."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spinsim.errors import InputError, did_you_mean
from spinsim.operations import ALL
from spinsim.packings import kinds
from spinsim.policies import registry
from spinsim.policies.base import (
    AdmissionPolicy,
    CompositionPolicy,
    CyclePlan,
    LengthPolicy,
    PackingPolicy,
    PipelinePolicy,
    PolicyContext,
    RequestView,
    Selector,
    Tunable,
)
from spinsim.policies.checked import check_answers, is_from_plugin
from spinsim.scenario import PoliciesSpec, PolicyChoice
from spinsim.scenario.messages import show

MOST_PARAMETER = 1e100  # of a policy's number: products of a few such numbers still are numbers

KINDS: Mapping[str, registry.Registry[Any]] = {
    "selector": registry.SELECTORS,
    "length": registry.LENGTHS,
    "packing": registry.PACKINGS,
    "pipeline": registry.PIPELINES,
    "composition": registry.COMPOSITIONS,
    "admission": registry.ADMISSIONS,
}

for _package in ("selectors", "lengths", "packing", "pipeline", "composition", "admission"):
    for _module in iter_modules(import_module(f"spinsim.policies.{_package}").__path__):
        import_module(f"spinsim.policies.{_package}.{_module.name}")


@dataclass(frozen=True, slots=True)
class Policies:
    """One run's decisions. Policies have state: build them anew for each run."""

    selector: Selector
    length: LengthPolicy
    packing: PackingPolicy
    pipeline: PipelinePolicy
    composition: CompositionPolicy
    admission: AdmissionPolicy
    switching: str  # "blocking" or "overlapped"

    @property
    def read_lookups(self) -> bool:
        """Does one of them choose by what lookups found? Somebody has to look before each round, then."""
        return any(getattr(one, "reads_lookups", False) for one in (self.selector, self.length))

    @property
    def scored_tokens(self) -> int:
        """Of how many of the last output tokens in a catch-up's row the selector wants to hear."""
        if self.selector.full_information:
            return ALL
        return int(getattr(self.selector, "reads_catch_ups", 0))

    def thought(self) -> Callable[[], None] | None:
        """What the selector would think through while the target verifies; None where there is nothing."""
        asked: Callable[[], Callable[[], None] | None] | None = getattr(self.selector, "thought", None)
        return None if asked is None else asked()

    def ceilings(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[float] | None:
        """By row, the entropy at which the length policy ends proposals; None where it does not."""
        said = getattr(self.length, "ceilings", None)
        return None if said is None else said(batch, drafts)


def reads_entropies(length: object) -> bool:
    """Does a length policy, or a class of them, say where proposals end by their entropy?"""
    return hasattr(length, "ceilings")


def build_policies(spec: PoliciesSpec, context: PolicyContext) -> Policies:
    """Raises InputError as :func:`validate_policies` does. Only a policy whose class says
    ``sees_future`` gets the context's ``future`` and ``outputs``."""
    params = validate_policies(spec, context.drafts, context.max_length)
    blind = replace(context, future=None, outputs=None)

    def make(kind: str) -> Any:
        name = getattr(spec, kind).name
        cls = KINDS[kind].get(name)
        policy = cls(params[kind], context if getattr(cls, "sees_future", False) else blind)
        if is_from_plugin(cls):
            check_answers(policy, kind, name, context)
        return policy

    plan = CyclePlan()
    blind, context = replace(blind, plan=plan), replace(context, plan=plan)
    length, packing, pipeline = make("length"), make("packing"), make("pipeline")
    table = getattr(length, "table", None)
    if table is not None:
        plan.fixed_lengths = tuple(table[:-1])
        blind, context = (
            replace(blind, lengths=plan.fixed_lengths),
            replace(context, lengths=plan.fixed_lengths),
        )
    plan.packings = getattr(packing, "choices", {spec.packing.name: packing})
    plan.most_depth = pipeline.max_depth
    if not getattr(pipeline, "needs_plan", False):
        plan.pipeline = pipeline
    return Policies(
        selector=make("selector"),
        length=length,
        packing=packing,
        pipeline=pipeline,
        composition=make("composition"),
        admission=make("admission"),
        switching=spec.switching,
    )


def validate_choice(kind: str, choice: PolicyChoice) -> Any:
    """The ``Params`` of a choice. Raises InputError for an unknown name, parameter or value."""
    cls = KINDS[kind].get(choice.name)
    known = [field.name for field in fields(cls.Params)]
    for name in choice.params:
        if name not in known:
            choices = ", ".join(known) + did_you_mean(name, known)
            allowed = f"choose from {choices}" if known else "it has none"
            raise InputError(
                f"{choice.name} has no parameter {name!r}; {allowed}", key=f"policies.{kind}.{name}"
            )
    for name, value in choice.params.items():
        if isinstance(value, int | float) and abs(value) > MOST_PARAMETER:
            raise InputError(
                f"{show(value)} is not allowed; at most {MOST_PARAMETER:g}", key=f"policies.{kind}.{name}"
            )
    try:
        return _adapter(kind, choice.name).validate_python(choice.params)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        message = f"{show(first['input'])} is not allowed; {_allowed(first['msg'])}"
        if kind == "length" and first["input"] == 0 and first["type"] == "greater_than_equal":
            message += ", and policies.length={name: none} proposes nothing"
        raise InputError(message, key=f"policies.{kind}.{place}") from None


def validate_policies(spec: PoliciesSpec, drafts: Sequence[str], max_length: int) -> dict[str, Any]:
    """``Params`` by kind, checked against each other and against the scenario's drafts.

    Raises InputError with a key like ``policies.selector.epsilon``.
    """
    params = {kind: validate_choice(kind, getattr(spec, kind)) for kind in KINDS}
    for kind, values in params.items():
        _check_drafts(kind, values, drafts)
    _check_packings(params["packing"])
    for name, tokens in _given_lengths(spec.length):
        if tokens > max_length:
            raise InputError(
                f"{tokens} is beyond limits.max_length; at most {max_length}", key=f"policies.length.{name}"
            )
    _check_no_draft(spec, params["selector"])
    _check_plan(spec)
    if spec.switching == "overlapped" and getattr(
        KINDS["selector"].get(spec.selector.name), "needs_blocking", False
    ):
        raise InputError(
            f"{spec.selector.name} plans every catch-up before its round, and is no bound with overlapped; "
            "set it to blocking",
            key="policies.switching",
        )
    if spec.length.name == "none":
        params["selector"] = _without_drafts(spec.selector, params["selector"])
    elif not drafts and spec.selector.name != "fixed":
        raise InputError(
            f"{spec.selector.name} has no draft to choose; name drafts in models.drafts, or choose fixed",
            key="policies.selector.name",
        )
    return params


def tunables(kind: str, name: str) -> dict[str, Tunable]:
    """Search ranges of the parameters of a policy that ``tune`` may vary."""
    hints = typing.get_type_hints(KINDS[kind].get(name).Params, include_extras=True)
    return {
        parameter: mark
        for parameter, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, Tunable)
    }


def policy_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema of ``policies.<kind>`` for every kind: one alternative a policy, for editors."""
    return {kind: {"oneOf": [_schema(kind, name) for name in KINDS[kind].names()]} for kind in KINDS}


def _schema(kind: str, name: str) -> dict[str, Any]:
    cls = KINDS[kind].get(name)
    schema = _adapter(kind, name).json_schema()
    for parameter in schema.get("properties", {}).values():
        parameter.pop("title", None)
    return {
        "type": "object",
        "title": name,
        "description": " ".join((cls.__doc__ or "").split()),
        "properties": {"name": {"const": name}, **schema.get("properties", {})},
        "required": ["name", *schema.get("required", [])],
        "additionalProperties": False,
        **({"$defs": schema["$defs"]} if "$defs" in schema else {}),
    }


@cache
def _adapter(kind: str, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind].get(name).Params)


def _allowed(message: str) -> str:
    """Pydantic's sentence as the second half of ours."""
    return (
        message.split(", unable")[0]
        .replace("Input should be", "it should be")
        .replace("a valid ", "of type ")
    )


def _check_drafts(kind: str, params: Any, drafts: Sequence[str]) -> None:
    for parameter, name in params.draft_names() if hasattr(params, "draft_names") else ():
        if name not in drafts:
            choices = ", ".join(drafts) if drafts else "none is defined in models.drafts"
            raise InputError(f"no draft is called {name!r}; {choices}", key=f"policies.{kind}.{parameter}")


def _check_packings(params: Any) -> None:
    for name in getattr(params, "among", None) or ():
        if name not in kinds():
            raise InputError(
                f"no packing is called {name!r}; choose from {', '.join(kinds())}",
                key="policies.packing.among",
            )


def _check_no_draft(spec: PoliciesSpec, params: Any) -> None:
    """May "no draft" be an arm of this selector?"""
    name = spec.selector.name
    if not spec.allow_none:
        return
    if getattr(KINDS["selector"].get(name), "needs_draft", False):
        raise InputError(
            f"{name} cannot score a round without a draft; set it to false", key="policies.allow_none"
        )
    if getattr(params, "reward", "tokens_per_round_second") != "tokens_per_round_second":
        raise InputError(
            f"{params.reward} is not defined for a round without a draft; "
            "use tokens_per_round_second, or set policies.allow_none to false",
            key="policies.selector.reward",
        )


def _check_plan(spec: PoliciesSpec) -> None:
    """Somebody has to make the plan that others follow."""
    for kind, policies in KINDS.items():
        name = getattr(spec, kind).name
        if not getattr(policies.get(name), "needs_plan", False):
            continue
        makers = [maker for maker in KINDS["selector"].names() if kind in _planned_by(maker)]
        if spec.selector.name not in makers:
            usual = getattr(type(spec)(), kind).name
            raise InputError(
                f"{name} follows a plan that {spec.selector.name} does not make; choose another {kind}, "
                f"such as {usual} (--set policies.{kind}.name={usual}, or /{kind}={usual} within --policy), "
                f"or the selector {' or '.join(makers)}",
                key=f"policies.{kind}.name",
            )


def with_selector(spec: PoliciesSpec, selector: PolicyChoice) -> PoliciesSpec:
    """The policies with another selector: what follows a plan that it does not make is as by default, and so
    is "no draft" for it."""
    planned, usual = _planned_by(selector.name), type(spec)()
    changed: dict[str, Any] = {
        kind: getattr(usual, kind)
        for kind, policies in KINDS.items()
        if kind not in planned and getattr(policies.get(getattr(spec, kind).name), "needs_plan", False)
    }
    if selector != spec.selector:
        changed["allow_none"] = usual.allow_none
    return spec.model_copy(update={**changed, "selector": selector})


def _planned_by(selector: str) -> Collection[str]:
    """The kinds of policy that a selector decides for: all of them, some, or none."""
    made = getattr(KINDS["selector"].get(selector), "makes_plan", False)
    return KINDS if made is True else made or ()


def _given_lengths(choice: PolicyChoice) -> list[tuple[str, int]]:
    """Lengths that the scenario itself states; a default beyond the limit is cut in silence."""
    given = validate_choice("length", choice)
    found: list[tuple[str, int]] = []
    for name in choice.params:
        value = getattr(given, name)
        if name in ("tokens", "default", "start") and isinstance(value, int):
            found.append((name, value))
        elif isinstance(value, dict):
            found.extend((f"{name}.{draft}", tokens) for draft, tokens in value.items())
    return found


def _without_drafts(choice: PolicyChoice, params: Any) -> Any:
    """With the length ``none`` nothing is drafted, and a selector of drafts would be ignored."""
    if (
        choice.name == "fixed"
        and params.draft in ("smallest", "none")
        and "draft" not in {name for name, value in choice.params.items() if value != "none"}
    ):
        return replace(params, draft="none")
    raise InputError(
        "policies.length is none, so no draft would ever be used; choose fixed with draft: none",
        key="policies.selector.name",
    )
