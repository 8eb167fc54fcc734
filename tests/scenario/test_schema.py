"""The JSON Schema: valid, the one that ships, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from spinsim.policies.build import KINDS
from spinsim.scenario_file import load, resolved_yaml
from spinsim.scenario_file.schema import scenario_schema
from spinsim.scenario_file.variants import grid
from spinsim.studies.sweep import read_sweep

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "scenarios").rglob("*.yaml"))
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
