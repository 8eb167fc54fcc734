"""Names, parameters and their errors; the schema; what a policy may import and see."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

import spinsim.policies
from spinsim.errors import InputError
from spinsim.policies.base import RequestView
from spinsim.policies.build import (
    KINDS,
    build_policies,
    policy_schemas,
    tunables,
    validate_choice,
    validate_policies,
    with_selector,
)
from spinsim.policies.registry import Registry
from spinsim.scenario import PoliciesSpec, PolicyChoice
from tests.policies.policy_world import Field, context

DRAFTS = ("tiny", "large")


def every() -> list[tuple[str, str]]:
    return [(kind, name) for kind, registry in KINDS.items() for name in registry.names()]


def complaint(**choices: object) -> str:
    spec = PoliciesSpec(**{k: PolicyChoice(**v) if isinstance(v, dict) else v for k, v in choices.items()})
    with pytest.raises(InputError) as error:
        validate_policies(spec, DRAFTS, 8)
    return str(error.value)


def test_every_row_of_the_design_is_there() -> None:
    have = {kind: set(registry.names()) for kind, registry in KINDS.items()}
    assert have["selector"] >= {
        "fixed", "random", "round_robin", "greedy", "epsilon_greedy", "ucb1", "ucbspec", "exp3spec",
        "hedgespec", "metasd_ucb", "thompson", "spin", "oracle",
    }  # fmt: skip
    assert have["length"] >= {"fixed", "per_draft", "heuristic", "goodput", "none"}
    assert have["packing"] >= {"padded", "decomposed", "ragged"}
    assert have["pipeline"] >= {"serial", "fixed", "spin", "model_based"}
    assert have["composition"] >= {"round_robin", "balanced", "grouped"}
    assert have["admission"] >= {"fcfs", "shortest_prompt"}


@pytest.mark.parametrize(
    ("choices", "key", "words"),
    [
        ({"selector": {"name": "spim"}}, "policies.selector.name", "choose from contextual,"),
        ({"selector": {"name": "spin", "explor": 1}}, "policies.selector.explor", "explore"),
        ({"selector": {"name": "random", "seed": 1}}, "policies.selector.seed", "it has none"),
        ({"selector": {"name": "epsilon_greedy", "epsilon": 2}}, "policies.selector.epsilon", "equal to 1"),
        ({"selector": {"name": "fixed", "draft": "huge"}}, "policies.selector.draft", "tiny, large"),
        ({"selector": {"name": "spin", "reward": "speed"}}, "policies.selector.reward", "_per_draft_second"),
        ({"selector": {"name": "spin", "share": 3}}, "policies.selector.share", "'prior'"),
        ({"length": {"name": "fixed", "tokens": 9}}, "policies.length.tokens", "at most 8"),
        ({"length": {"name": "fixed", "tokens": 0}}, "policies.length.tokens", "length={name: none}"),
        ({"length": {"name": "fixed", "tokens": "many"}}, "policies.length.tokens", "integer"),
        ({"length": {"name": "per_draft", "tokens": {"huge": 2}}}, "policies.length.tokens.huge", "tiny"),
        ({"length": {"name": "per_draft", "tokens": {"tiny": 9}}}, "policies.length.tokens.tiny", "most 8"),
        ({"length": {"name": "per_draft", "tokens": {"tiny": 0}}}, "policies.length.tokens.tiny", "greater"),
        ({"length": {"name": "none"}, "selector": {"name": "spin"}}, "policies.selector.name", "draft: none"),
        ({"selector": {"name": "spin"}, "allow_none": True}, "policies.selector.reward", "round_second"),
        ({"selector": {"name": "metasd_ucb"}, "allow_none": True}, "policies.allow_none", "false"),
        ({"selector": {"name": "oracle"}, "switching": "overlapped"}, "policies.switching", "to blocking"),
        ({"pipeline": {"name": "fixed", "micro_batches": 0}}, "policies.pipeline.micro_batches", "greater"),
        ({"packing": {"name": "tight"}}, "policies.packing.name", "decomposed, padded, planned, ragged"),
        ({"composition": {"name": "x"}}, "policies.composition.name", "balanced, grouped, planned, round"),
        ({"admission": {"name": "x"}}, "policies.admission.name", "fcfs, shortest_prompt"),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_what_is_allowed(choices: dict[str, object], key: str, words: str) -> None:
    message = complaint(**choices)
    assert message.startswith(f"{key}: ")
    assert "; " in message
    assert words in message
    assert "\n" not in message


def test_no_drafts_leave_only_fixed() -> None:
    validate_policies(PoliciesSpec(), (), 8)
    with pytest.raises(InputError, match="no draft to choose"):
        validate_policies(PoliciesSpec(selector=PolicyChoice(name="spin")), (), 8)


def test_default_length_is_cut_to_the_limit_in_silence() -> None:
    policies = build_policies(PoliciesSpec(), context(max_length=2))
    assert policies.length.lengths([], [0, 1, -1]) == [2, 2, 0]


def test_length_none_decodes_without_drafts() -> None:
    policies = build_policies(PoliciesSpec(length=PolicyChoice(name="none")), context())
    batch = [RequestView(0, 5, 0, 3), RequestView(1, 5, 0, 3)]
    assert policies.selector.assign(batch) == [-1, -1]
    assert policies.length.lengths(batch, [-1, -1]) == [0, 0]


@pytest.mark.parametrize(("kind", "name"), every())
def test_every_policy_builds_from_its_defaults_and_round_trips(kind: str, name: str) -> None:
    params = validate_choice(kind, PolicyChoice(name=name))
    given = {f.name: getattr(params, f.name) for f in fields(params)}
    assert validate_choice(kind, PolicyChoice(name=name, **given)) == params
    field = Field(lambda r, d, p: 0.5)
    policy = KINDS[kind].get(name)(params, context(future=field, outputs=[10]))
    assert policy is not None
    assert (KINDS[kind].get(name).__doc__ or "").strip()


@pytest.mark.parametrize(("kind", "name"), every())
def test_tuning_ranges_hold_values_that_validation_accepts(kind: str, name: str) -> None:
    for parameter, (low, high, log) in tunables(kind, name).items():
        assert low < high
        assert not log or low > 0
        for value in (low, high):
            validate_choice(kind, PolicyChoice(name=name, **{parameter: value}))


def test_schema_lists_every_policy_and_parameter() -> None:
    schemas = policy_schemas()
    for kind, name in every():
        (schema,) = [s for s in schemas[kind]["oneOf"] if s["properties"]["name"] == {"const": name}]
        params = KINDS[kind].get(name).Params
        assert set(schema["properties"]) == {"name", *(f.name for f in fields(params))}
        assert schema["additionalProperties"] is False
    epsilon = next(s for s in schemas["selector"]["oneOf"] if s["title"] == "epsilon_greedy")
    assert epsilon["properties"]["epsilon"]["maximum"] == 1
    assert TypeAdapter(dict).dump_json(schemas)  # plain data


def test_a_registry_refuses_a_second_policy_of_a_name() -> None:
    registry: Registry[object] = Registry("thing")
    one = KINDS["selector"].get("fixed")
    registry.register("one")(one)
    with pytest.raises(ValueError, match="'one'"):
        registry.register("one")(one)


def test_policies_import_nothing_that_acts() -> None:
    forbidden = {
        "simpy",
        "torch",
        "transformers",
        "time",
        "os",
        "io",
        "socket",
        "random",
        "threading",
        "datetime",
    }
    above = {"engine", "simulated", "live", "experiments", "reporting", "models", "profiling"}
    for path in Path(spinsim.policies.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom)
                else []
            )  # fmt: skip
            for name in names:
                assert name.split(".")[0] not in forbidden, f"{path}: {name}"
                assert not (name.startswith("spinsim.") and name.split(".")[1] in above), f"{path}: {name}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"open", "print", "input", "exec", "eval"}, path


def test_policies_cannot_see_output_lengths() -> None:
    assert not {name for name in RequestView.__slots__ if "output" in name or "domain" in name}
    assert not hasattr(RequestView(0, 1, 0, 1), "__dict__")
    field = Field(lambda r, d, p: 0.5)
    seen = {}
    for kind, name in every():
        cls = KINDS[kind].get(name)
        maker = {"selector": PolicyChoice(name="planned" if name == "planned" else "fixed")}
        spec = PoliciesSpec(**{**maker, kind: PolicyChoice(name=name)})
        if name == "none":
            continue
        policies = build_policies(spec, context(future=field, outputs=[10]))
        policy = getattr(policies, kind)
        held = [v for v in vars(policy).values() if v is field or (isinstance(v, list) and v == [10])]
        inner = [getattr(v, "future", None) for v in vars(policy).values()]
        seen[kind, name] = bool(held) or any(value is not None for value in inner)
        assert seen[kind, name] == getattr(cls, "sees_future", False)
    assert [key for key, sees in seen.items() if sees] == [
        ("selector", "contextual_oracle"),
        ("selector", "oracle"),
        ("selector", "planned_oracle"),
    ]


def test_the_oracle_refuses_to_be_blind() -> None:
    spec = PoliciesSpec(selector=PolicyChoice(name="oracle"))
    with pytest.raises(ValueError, match="future"):
        build_policies(spec, context())


@pytest.mark.parametrize("name", KINDS["selector"].names())
def test_selectors_offer_the_whole_protocol(name: str) -> None:
    cls = KINDS["selector"].get(name)
    for method, arguments in {"assign": 1, "observe": 1, "observe_hits": 3, "forget": 1}.items():
        assert len(inspect.signature(getattr(cls, method)).parameters) == arguments + 1
    assert isinstance(cls.sees_future, bool)
    assert isinstance(cls.full_information, bool)


def test_static_lengths_reach_the_other_policies() -> None:
    within = replace(context(), future=Field(lambda r, d, p: 0.5), outputs=[10])
    spec = PoliciesSpec(
        selector=PolicyChoice(name="oracle"),
        length=PolicyChoice(name="per_draft", tokens={"a": 2}, default=5),
    )
    assert build_policies(spec, within).selector.context.lengths == (2, 5, 5)  # type: ignore[attr-defined]


def test_another_selector_takes_the_usual_place_of_a_plan_that_it_does_not_make() -> None:
    planned = PoliciesSpec.model_validate(
        {"selector": {"name": "contextual"}, "length": {"name": "planned"}, "allow_none": True}
    )
    changed = with_selector(planned, PolicyChoice(name="spin"))
    assert (changed.selector.name, changed.length.name, changed.allow_none) == ("spin", "fixed", False)
    validate_policies(changed, ("a", "b"), 8)
    assert with_selector(planned, planned.selector) == planned
