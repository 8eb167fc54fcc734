"""The JSON Schema: valid, the one that ships, and of one mind with the loader."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from spinsim.errors import InputError
from spinsim.policies.build import KINDS
from spinsim.scenario_file import load, resolved_yaml
from spinsim.scenario_file.schema import scenario_schema
from spinsim.scenario_file.variants import grid
from spinsim.studies.sweep import read_sweep
from tests.scenario.test_extremes import BASE, VARIANTS, changed

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "scenarios").rglob("*.yaml") if path.parent.name != "studies")
CONTENTS = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
SHIPPED = [path for path in FILES if "scenario" not in CONTENTS[path]]
# those that name some of a grid's cells are a validation's, and loaded by its tests
SWEEPS = [path for path in FILES if path not in SHIPPED and "cells" not in CONTENTS[path]]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return scenario_schema()


def test_schema_is_valid_and_ships(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    shipped = json.loads((ROOT / "docs" / "scenario.schema.json").read_text(encoding="utf-8"))
    assert shipped == schema, "out of date: make schema"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_load_in_every_cell(path: Path) -> None:
    swept = read_sweep(path)
    assert swept is not None
    for _, overrides in grid(swept.axes):
        load(swept.scenario, [*swept.overrides, *overrides])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_pass_loader_and_schema(path: Path, schema: dict[str, Any], tmp_path: Path) -> None:
    loaded = load(path)
    Draft202012Validator(schema).validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    header = path.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert header.startswith(prefix)
    assert (path.parent / header.removeprefix(prefix)).resolve() == ROOT / "docs" / "scenario.schema.json"
    again = tmp_path / "again.yaml"
    again.write_text(resolved_yaml(loaded), encoding="utf-8")
    assert resolved_yaml(load(again)) == resolved_yaml(loaded)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("seed", -1),
        ("sede", 1),
        ("limits", {"batch": 0}),
        ("costs", {"model": "magic"}),
        ("devices", {"a.b": {"hardware": "h200"}}),
        ("policies", {"selector": {"name": "magic"}}),
        ("policies", {"length": {"name": "fixed", "magic": 1}}),
        ("policies", {"length": {"name": "fixed", "tokens": 0}}),
    ],
)
def test_schema_refuses_what_the_loader_refuses(
    section: str, value: object, schema: dict[str, Any], scenario_text: str
) -> None:
    validator = Draft202012Validator(schema)
    good = yaml.safe_load(scenario_text)
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, section: value})


def test_every_policy_is_in_the_schema(schema: dict[str, Any]) -> None:
    kinds = schema["$defs"]["PoliciesSpec"]["properties"]
    for kind, registry in KINDS.items():
        names = {choice["properties"]["name"]["const"] for choice in kinds[kind]["oneOf"]}
        assert names == set(registry.names())


def test_resolved_paths_are_absolute_and_environment_names_stay(tmp_path: Path, scenario_text: str) -> None:
    path = tmp_path / "here.yaml"
    arrivals = "  arrivals: {process: poisson, rate_per_s: 4}\n"
    for given, expected in (
        ("t.csv", str(tmp_path / "t.csv")),
        ("$DATA/t.csv", "$DATA/t.csv"),
        ("/x.csv", "/x.csv"),
    ):
        source = f"  source: {{format: azure, path: {given}}}\n"
        path.write_text(scenario_text.replace(arrivals, arrivals + source), encoding="utf-8")
        values = yaml.safe_load(resolved_yaml(load(path)))
        assert values["workload"]["source"]["path"] == expected
        assert values["models"]["target"]["shape"] == "llama-7b"


# What no schema can say: whether names refer to anything, and how numbers stand to each other.
BEYOND = (
    "no such", "was made for", "is not placed",
    "one number for every draft", "weights for", "below min", "above start_s",
    "unknown model shape", "hold one request", "cannot hold the shortest", "do not fit the context",
    "leave nothing to measure", "has no drafts", "no draft to choose", "beyond limits.max_length",
)  # fmt: skip
ODD = (0, 0.5, "x", None, [], {}, 3.0, ["x"])


def _mutated(content: dict[str, Any], sections: Collection[str]) -> Iterator[dict[str, Any]]:
    """A scenario with one value of some sections replaced by something odd, or left out."""
    for path in _paths({name: content[name] for name in sections}):
        for odd in ODD:
            yield changed(content, path, odd)
        if not isinstance(path[-1], int):
            less = copy.deepcopy(content)
            here = less
            for key in path[:-1]:
                here = here[key]
            del here[path[-1]]
            yield less


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from _paths(inner, (*path, key))


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_schema_accepts_only_what_the_loader_accepts(name: str, schema: dict[str, Any]) -> None:
    """Where one value is odd, or missing."""
    validator = Draft202012Validator(schema)
    content = {**copy.deepcopy(BASE), **copy.deepcopy(VARIANTS[name])}
    content |= {"sampling": {"temperature": 0.5, "top_p": 0.9}, "live": {"graphs": True}}
    content["policies"] = {
        "selector": {"name": "ucb1", "beta": 1.0},
        "length": {"name": "heuristic", "start": 4},
    }
    assert validator.is_valid(content)
    for odd in _mutated(content, VARIANTS[name] or content):
        if validator.is_valid(odd):
            assert not [error for error in _refusals(odd) if not any(text in error for text in BEYOND)]


def _refusals(content: dict[str, Any]) -> list[str]:
    try:
        load(content)
    except InputError as error:
        return str(error).splitlines()
    return []


def test_whole_numbers_may_be_written_with_an_exponent(scenario_text: str) -> None:
    content = yaml.safe_load(scenario_text) | {"limits": {"batch": 1e1, "context_tokens": 2e3}}
    assert load(content).scenario.limits.context_tokens == 2000
    with pytest.raises(InputError, match="must be a whole number"):
        load({**content, "limits": {"batch": 1.5}})
