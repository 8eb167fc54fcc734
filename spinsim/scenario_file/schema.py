"""The JSON Schema of a scenario, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from spinsim.scenario import Scenario


def scenario_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of what a scenario file may say, every policy's parameters included."""
    from spinsim.policies.build import policy_schemas

    schema = Scenario.model_json_schema()
    definitions = schema["$defs"]
    policies = definitions["PoliciesSpec"]["properties"]
    for kind, choices in policy_schemas().items():
        for choice in choices["oneOf"]:
            definitions.update(choice.pop("$defs", {}))
        policies[kind] = {**choices, "default": policies[kind]["default"]}
    del definitions["PolicyChoice"]
    _close(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _close(part: Any) -> None:
    """Where keys have a pattern, allow no others: pydantic leaves that open."""
    if isinstance(part, dict):
        if "patternProperties" in part:
            part["additionalProperties"] = False
        for inner in part.values():
            _close(inner)
    elif isinstance(part, list):
        for inner in part:
            _close(inner)
