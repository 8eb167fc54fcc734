"""Writes docs/scenario.md and scenarios/README.md: ``python docs/make/scenario_reference.py``.

Everything about a key is read off the models of :mod:`spinsim.scenario`. What a shipped scenario is for is
its ``description``, or its first comment. A test fails when a page is stale.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from spinsim.scenario import PolicyChoice, Scenario
from spinsim.scenario_file.one_world import one_world

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scenario.md"
INDEX = ROOT / "scenarios" / "README.md"
Anchors = Mapping[type[BaseModel], str]  # of the sections on the page
WORLDS = {"simulated": "predicted", "live": "live"}

HEAD = """\
# The scenario, key by key

A scenario is one YAML file. `spinsim init` writes a first one, and [scenarios/](../scenarios/README.md) has
those that ship. `spinsim list hardware | shapes | policies | drafters | formats` prints what keys may name.
Any key can be set on the command line: `--set limits.batch=16`. Editors complete and check keys with
`docs/scenario.schema.json`.

**Read by** says which commands a key has an effect on. *predicted*: `simulate`, `compare`, `sweep`, `tune`,
`capacity`, `ladder`. *live*: `run`, `profile`, `trace`. *both*: all of these, and `validate`. A dash as
default means that the key is required. Paths start at the scenario's folder.

This page is made from the code by `python docs/make/scenario_reference.py`.
"""


def reference() -> str:
    """docs/scenario.md: a table for the file and each of its sections, the first time that it may occur."""
    titles: dict[type[BaseModel], tuple[str, str]] = {Scenario: ("The file", "")}
    for name, field in Scenario.model_fields.items():
        for title, section, at in _sections(name, field.annotation):
            titles.setdefault(section, (title, at))
    anchors = {section: _anchor(title) for section, (title, _) in titles.items()}
    parts = [_section(title, section, at, anchors) for section, (title, at) in titles.items()]
    return "\n".join([HEAD, *parts])


def _sections(at: str, annotation: Any, chosen: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """(title, section, its dotted place) of every mapping that a value of this type is, or holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is PolicyChoice:
            return
        key, tag = _tag(annotation)
        yield (f"`{at}`" + (f" with `{key}: {tag}`" if tag else ""), annotation, at)
        for name, field in annotation.model_fields.items():
            yield from _sections(f"{at}.{name}", field.annotation)
    elif get_origin(annotation) is dict:
        yield from _sections(f"{at}.NAME", get_args(annotation)[1])
    elif get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        for part in get_args(annotation):
            yield from _sections(at, part)


def _section(title: str, section: type[BaseModel], at: str, anchors: Anchors) -> str:
    said = " ".join((section.__doc__ or "").replace("``", "`").split())
    lines = [f"## {title}", "", said, "", "| key | value | unit | default | read by | what it is |"]
    lines.append("|---|---|---|---|---|---|")
    for name, field in section.model_fields.items():
        dotted = f"{at}.{name}" if at else name
        cells = (
            f"`{name}`",
            _value(field, anchors),
            _unit(field),
            _default(field),
            _read_by(dotted),
            (field.description or "").replace("|", "\\|"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _tag(section: type[BaseModel]) -> tuple[str, str]:
    """The key that tells the members of a choice apart, and this one's value."""
    for key in ("model", "process", "distribution"):
        field = section.model_fields.get(key)
        if field is not None and get_origin(field.annotation) is Literal:
            return key, str(get_args(field.annotation)[0])
    return "", ""


def _value(field: FieldInfo, anchors: Anchors) -> str:
    """What may be there: kind, choices, limits."""
    return _limited(_kind(field.annotation, anchors), field.metadata)


def _kind(annotation: Any, anchors: Anchors) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _limited(_kind(arguments[0], anchors), arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(
            dict.fromkeys(_kind(part, anchors) for part in arguments if part is not type(None))
        )
    if origin is tuple:
        return f"list, each {_kind(arguments[0], anchors)}"
    if origin is dict:
        return f"by name: {_kind(arguments[1], anchors)}"
    if annotation is PolicyChoice:
        return "`name` and [parameters](policies.md)"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_tag(annotation)[1] or 'mapping'}](#{anchors[annotation]})"
    return {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}[annotation]


def _limited(kind: str, metadata: Iterable[Any]) -> str:
    """A kind of number with its limits; bounds that only keep numbers finite are left out."""
    found = [limit for extra in metadata for limit in _limits(extra)]
    if kind == "whole number":
        found = ["from 1" if limit == "above 0" else limit for limit in found]
    return " ".join([kind, *found])


def _limits(extra: Any) -> Iterator[str]:
    if isinstance(extra, FieldInfo):
        for inner in extra.metadata:
            yield from _limits(inner)
    match extra:
        case Gt(gt=bound):
            yield f"above {bound:g}"
        case Ge(ge=bound) if bound > -1e5:
            yield "above 0" if 0 < bound < 1e-5 else f"from {bound:g}"
        case Lt(lt=bound):
            yield f"below {bound:g}"
        case Le(le=bound) if bound < 1e5:
            yield f"to {bound:g}"


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if default is PydanticUndefined:
        return "-"
    if isinstance(default, PolicyChoice):
        return f"`{{name: {default.name}}}`"
    if default is None or default == "" or default == {} or isinstance(default, BaseModel):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _read_by(key: str) -> str:
    """The world that reads the key, where it is not both."""
    if key in ("name", "description"):
        return "people"
    said = one_world(key.replace(".NAME", ""))
    return "both" if said is None else WORLDS[said.world]


def _anchor(title: str) -> str:
    """GitHub's: lower case, without punctuation, hyphens for spaces."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def index() -> str:
    """scenarios/README.md: a line for each file."""
    lines = [
        "# Scenarios that ship",
        "",
        "`spinsim init` writes one of your own. [docs/scenario.md](../docs/scenario.md) has every key.",
        "This page is made by `python docs/make/scenario_reference.py`.",
        "",
        "| file | command | what it is |",
        "|---|---|---|",
    ]
    for path in sorted((ROOT / "scenarios").rglob("*.yaml")):
        name = path.relative_to(INDEX.parent).as_posix()
        lines.append(f"| [{name}]({name}) | {_command(path)} | {_about(path)} |")
    return "\n".join([*lines, ""])


def _command(path: Path) -> str:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "cells" in content or path.stem.startswith("validate-"):
        return "`validate`"
    if "parts" in content:
        return "`study`"
    return "`sweep`" if "scenario" in content else "`simulate`"


def _about(path: Path) -> str:
    """The scenario's description, or the first sentence of the comment on top."""
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    if content.get("description"):
        return str(content["description"])
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# yaml-language-server"):
            comment.append(line.lstrip("# "))
    words = " ".join(" ".join(comment).split())
    head, stop, _ = words.partition(". ")
    return f"{head}." if stop else words


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    INDEX.write_text(index(), encoding="utf-8")
