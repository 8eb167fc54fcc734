"""The JSON Schema of a scenario, for editors that complete and check YAML.

It accepts what the loader does, but for what no schema can say: whether a name refers to anything (drafts,
devices, shapes, files), and how numbers stand to each other (``min`` below ``max``, memory for one request).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spinsim.scenario import Columns, KvSpec, LogisticAcceptance, SamplingSpec, Scenario, Source

Schema = dict[str, Any]
TOKENS = ("prompt_tokens", "output_tokens")  # distributions of whole numbers
_TOKENS = {"type": "integer", "minimum": 1, "maximum": 10**9}
_LENGTHS = ("value", "min", "max")


def scenario_schema() -> Schema:
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
    _kinds_of_drafts(definitions)
    _close(schema)
    _constrain(definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _kinds_of_drafts(definitions: dict[str, Schema]) -> None:
    """A draft that names no kind is a model. One alternative for each other kind, with its own keys."""
    from spinsim.drafters.for_scenario import other_kinds

    definitions["DraftSpec"]["properties"]["kind"] = {"default": "model", "enum": ["model"]}
    choice = definitions.pop("DrafterChoice")["properties"]
    alternatives: list[Schema] = [{"$ref": "#/$defs/DraftSpec"}]
    for name, cls in other_kinds().items():
        keys = cls.Keys.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(keys.pop("$defs", {}))
        properties = {"kind": {"const": name}, "capacity": choice["capacity"], **keys.get("properties", {})}
        alternatives.append(
            {
                "type": "object",
                "title": name,
                "description": " ".join((cls.__doc__ or "").split()),
                "properties": properties,
                "required": ["kind", *keys.get("required", [])],
                "additionalProperties": False,
            }
        )
    drafts = definitions["ModelsSpec"]["properties"]["drafts"]
    for pattern in drafts["patternProperties"]:
        drafts["patternProperties"][pattern] = {"oneOf": alternatives}


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


def _constrain(definitions: dict[str, Schema]) -> None:
    """What :mod:`spinsim.scenario_file.checks` asks of single sections."""
    from spinsim.costs.sheets.hardware import hardware_names
    from spinsim.costs.sheets.own_hardware import NEEDED
    from spinsim.scenario_file.checks import RESERVED
    from spinsim.scenario_file.workload_checks import OWN_FORMATS, TIMED_FORMATS

    workload = definitions["WorkloadSpec"]
    for name in TOKENS:
        workload["properties"][name] = _of_tokens(workload["properties"][name], definitions)
    sizes = ("requests", *TOKENS)
    alone = {"required": [*sizes], "properties": {name: {"not": {"type": "null"}} for name in sizes}}
    read = {"required": ["source"], "properties": {"source": {"type": "object"}}}
    own = {"enum": list(OWN_FORMATS)}
    mapped = {"columns": {"anyOf": [{"type": "null"}, _given(["arrival"])]}}
    recorded = [{"format": {"enum": list(TIMED_FORMATS)}}, {"format": own, **mapped}]
    timed = {"properties": {"source": {"anyOf": [{"properties": one} for one in recorded]}}}
    _only_with(definitions["Source"], "columns", Source, {"format": own})
    columns = definitions["Columns"]
    columns["anyOf"] = [_given(["prompt"]), _given(["text"])]
    _only_with(columns, "arrival_unit", Columns, {"arrival": {"type": "string"}})
    workload["anyOf"] = [alone, read]
    workload.update(
        _when({"arrivals": {"properties": {"process": {"const": "replay"}}}}, {"allOf": [read, timed]})
    )
    definitions["SloSpec"]["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "number"}}} for name in ("ttft_s", "tpot_s")
    ]
    names = hardware_names()
    shipped = {"enum": [*names, *(name.upper() for name in names)]}
    ending = r"\.(yaml|yml|json|YAML|YML|JSON)$"
    sheet_file = {"type": "string", "pattern": ending, "description": "The path of a hardware sheet."}
    hardware = definitions["DeviceSpec"]["properties"]["hardware"]
    hardware["anyOf"] = [shipped, sheet_file, *(part for part in hardware["anyOf"] if "$ref" in part)]
    sheet = definitions["HardwareSheet"]
    sheet["properties"]["base"]["enum"] = [*shipped["enum"], None]
    sheet["anyOf"] = [_given(["base"]), _given(NEEDED)]
    for section in ("Flops", "Collectives"):  # one of theirs at least
        definitions[section]["anyOf"] = [_given([name]) for name in definitions[section]["properties"]]
    definitions["PlacementSpec"]["properties"]["target"]["uniqueItems"] = True
    drafts = definitions["ModelsSpec"]["properties"]["drafts"]
    drafts["propertyNames"] = {"not": {"enum": list(RESERVED)}}
    _only_with(definitions["KvSpec"], "block_tokens", KvSpec, {"reserve": {"const": "grow"}})
    _only_with(definitions["SamplingSpec"], "top_p", SamplingSpec, {"temperature": {"exclusiveMinimum": 0}})
    _only_with(
        definitions["LogisticAcceptance"],
        "drift_tokens",
        LogisticAcceptance,
        {"drift_sd": {"exclusiveMinimum": 0}},
    )


def _of_tokens(choice: Schema, definitions: dict[str, Schema]) -> Schema:
    """The distributions that ``choice`` names, of whole numbers from 1."""
    text = _TOKENS
    for name in ("Fixed", "Uniform", "Lognormal", "Empirical"):
        made = definitions[f"{name}Tokens"] = {**definitions[name], "title": f"{name}Tokens"}
        made["properties"] = properties = dict(made["properties"])
        for key in _LENGTHS:
            if key in properties:
                kept = {k: v for k, v in properties[key].items() if k in ("default", "title")}
                nullable = "anyOf" in properties[key]
                properties[key] = {**kept, **({"anyOf": [text, {"type": "null"}]} if nullable else text)}
        if "values" in properties:
            properties["values"] = {**properties["values"], "items": text}
    renamed: Schema = _renamed(choice)
    return renamed


def _renamed(part: Any) -> Any:
    """References to distributions as those to their versions of tokens; a number alone as one of tokens."""
    if isinstance(part, dict):
        if part.get("type") == "number":
            return dict(_TOKENS)
        return {key: _renamed(inner) for key, inner in part.items()}
    if isinstance(part, list):
        return [_renamed(inner) for inner in part]
    return f"{part}Tokens" if isinstance(part, str) and part.startswith("#/$defs/") else part


def _given(keys: Iterable[str]) -> Schema:
    """That all of ``keys`` have a value."""
    return {"required": list(keys), "properties": {key: {"not": {"type": "null"}} for key in keys}}


def _when(properties: Schema, then: Schema) -> Schema:
    return {"if": {"required": list(properties), "properties": properties}, "then": then}


def _only_with(section: Schema, key: str, model: Any, needed: Schema) -> None:
    """``key``, where it is not its default, needs others: stated, where their own defaults do not do."""
    defaults = {name: model.model_fields[name].default for name in (key, *needed)}
    stated = [name for name, what in needed.items() if what != {"const": defaults[name]}]
    then = {"required": stated, "properties": needed} if stated else {"properties": needed}
    section.update(_when({key: {"not": {"const": defaults[key]}}}, then))
