"""What others build on: options, signatures, plugin imports, files and their keys.

Modules may move and prose may improve, so nothing here is found by where it lives today: it is read off the
program, off ``spinsim.api``, and off files.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import numpy as np
import typer

import spinsim.policies
from spinsim import api
from spinsim.cli import app
from tests.contract.results import ROOT, SCENARIOS, flat, types

PROFILES = ROOT / "profiles"
FEW: dict[str, Any] = {"workload.requests": 6, "seed": 1}


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the program by its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def options() -> dict[str, dict[str, str]]:
    """The parameters of every command: spellings, and what each takes."""
    program = typer.main.get_command(app)
    found = {"spinsim": program, **dict(commands(program))}
    return {name: dict(map(_option, command.params)) for name, command in found.items()}


def _option(param: Any) -> tuple[str, str]:
    """How an option is written, and its type, default and limits in one line."""
    spelled = "/".join([*param.opts, *param.secondary_opts])
    if param.param_type_name == "argument":
        spelled = param.metavar or param.name.upper()
    takes = _takes(param.type_descriptor.annotation)
    limits = {"min": param.min, "max": param.max}
    default = param.default.value if isinstance(param.default, Enum) else param.default
    parts = [
        takes,
        *(f"{name} {limit}" for name, limit in limits.items() if limit is not None),
        *(["repeatable"] if param.multiple or param.nargs == -1 else []),
        "required"
        if param.required
        else f"default {'a path' if isinstance(default, Path) else repr(default)}",
    ]
    return spelled, ", ".join(parts)


def _takes(annotation: Any) -> str:
    """What a user may write: a path and a text are the same to the command line."""
    if arguments := get_args(annotation):
        annotation = arguments[0]
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return "one of " + " ".join(str(member.value) for member in annotation)
    return {bool: "flag", int: "integer", float: "number"}.get(annotation, "text")


def signatures() -> dict[str, Any]:
    """Parameters and defaults of what ``spinsim.api`` exports; of classes their public names."""
    found = {name: getattr(api, name) for name in api.__all__ if name != "models"}
    public = {name: each for name, each in vars(api.models).items() if not name.startswith("_")}
    found |= {
        f"models.{name}": each
        for name, each in public.items()
        if getattr(each, "__module__", "") == api.models.__name__
    }
    return {name: _signature(each) for name, each in found.items()}


def _signature(thing: Any) -> list[str]:
    if inspect.isclass(thing):
        if not (is_dataclass(thing) or issubclass(thing, Exception)):
            return sorted(thing.__annotations__)  # a TypedDict
        names = {*dir(thing), *inspect.signature(thing).parameters}
        return sorted(name for name in names - set(dir(Exception)) if not name.startswith("_"))
    return [_parameter(each) for each in inspect.signature(thing).parameters.values()]


def _parameter(parameter: inspect.Parameter) -> str:
    """As it is written, without its type; a path, which is this machine's, is called one."""
    text = str(parameter.replace(annotation=inspect.Parameter.empty))
    if isinstance(parameter.default, Path):
        text = f"{parameter.name}=a path"
    return f"*, {text}" if parameter.kind is parameter.KEYWORD_ONLY else text


def plugin_names() -> dict[str, list[str]]:
    """Classes and functions that each module of ``spinsim.policies`` defines, and the registries.

    What has moved to other rooms stays where plugins import it. What builds a scenario's policies out of the
    registries is no plugin's business.
    """
    found = {}
    for module in pkgutil.walk_packages(spinsim.policies.__path__, "spinsim.policies."):
        if module.ispkg or module.name.endswith(".build"):
            continue
        members = {n: m for n, m in vars(importlib.import_module(module.name)).items() if n[0] != "_"}
        ours = [n for n, m in members.items() if inspect.isroutine(m) or inspect.isclass(m)]
        homes: tuple[str, ...] = (f"{module.name}.",)
        if module.name.endswith((".base", ".registry")) or ".packing." in module.name:
            homes += ("spinsim.packings.", "spinsim.registry.")
        if module.name.endswith(".selectors.planned"):
            homes += ("spinsim.policies.selectors.by_plan.",)
        ours = [n for n in ours if f"{members[n].__module__}.".startswith(homes)]
        if module.name.endswith((".base", ".registry")):
            ours += [n for n in members if n.isupper() and len(n) > 1]
        found[module.name] = sorted(ours)
    return found


def keys(content: Any) -> list[str]:
    """The dotted paths of a JSON object; ``*`` stands for what a scenario names."""
    named = r"\b(devices|lanes|per_draft|packings|packages)\.[^.]+"
    return sorted({re.sub(named, r"\1.*", path) for path, _ in flat(content)})


def schema_keys(schema: dict[str, Any]) -> list[str]:
    """Every key that a scenario may have, by its path: ``workload.arrivals[poisson].rate_per_s``."""

    def below(node: Any, path: str) -> Iterator[str]:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        properties = node.get("properties", {})
        kind = next((each["const"] for each in properties.values() if "const" in each), "")
        at = f"{path}[{kind}]" if kind else path
        for name, each in properties.items():
            key = f"{at}.{name}" if at else name
            yield key
            yield from below(each, key)
        others = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
        for each in others:
            if isinstance(each, dict):
                yield from below(each, f"{path}.*")
        for choice in ("anyOf", "oneOf", "allOf"):
            for each in node.get(choice, ()):
                yield from below(each, path)

    return sorted(set(below(schema, "")))


def folder_contents(folder: Path) -> dict[str, Any]:
    """The files of a results folder, with the keys of JSON and the column types of Parquet."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            found[path.name] = types(path)
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            if path.name == "timeline.json":
                content = {"traceEvents": {}, **{k: {} for e in content["traceEvents"] for k in e}}
            found[path.name] = keys(content)
        else:
            found[path.name] = []
    return found


def folders(work: Path) -> dict[str, Any]:
    """What commands leave, from runs as small as can be."""
    specialists = SCENARIOS / "specialists.yaml"
    slower = {"length": {"name": "fixed", "tokens": 1}}
    poisson = {"workload.arrivals": {"process": "poisson", "rate_per_s": 2}}
    one: dict[str, Any] = {"seeds": 1, "workers": 0}
    api.simulate(specialists, set=FEW, intervals=2, out=work / "simulate")
    api.sweep(specialists, {"limits.batch": [4]}, set=FEW, workers=0, out=work / "sweep")
    api.compare(specialists, {"slower": slower}, set=FEW, metrics="goodput", **one, out=work / "compare")
    api.capacity(
        specialists,
        slo={"ttft_s": 0.1},
        set=poisson,
        duration_s=1,
        tolerance=0.5,
        **one,
        out=work / "capacity",
    )
    return {name: folder_contents(work / name) for name in ("simulate", "sweep", "compare", "capacity")}


def formats() -> dict[str, Any]:
    """Keys of the profiles and of the recording that ship."""
    found: dict[str, Any] = {}
    for path in sorted(PROFILES.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        points = {key for point in content["points"] for key in point}
        operations = {point["operation"] for point in content["points"]}
        found[path.name] = {
            "keys": sorted(content),
            "points": sorted(points),
            "operations": sorted(operations),
            "schema": content["schema"],
        }
    with np.load(PROFILES / "family-greedy.npz") as recording:
        meta = json.loads(bytes(recording["meta"]))
        arrays = {name: str(recording[name].dtype) for name in sorted(recording.files)}
    found["family-greedy.npz"] = {"arrays": arrays, "meta": sorted(meta), "schema": meta["schema"]}
    return found


def measure(folder: Path) -> dict[str, Any]:
    """Everything that ``interface.json`` holds. ``folder`` is an empty one to work in."""
    return {
        "options": options(),
        "api": signatures(),
        "plugins": plugin_names(),
        "scenario": schema_keys(api.schema()),
        "folders": folders(folder),
        "formats": formats(),
    }
