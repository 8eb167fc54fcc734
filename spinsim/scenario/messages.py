"""What pydantic found wrong, in the words of the scenario: "what is wrong; what is allowed"."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, Discriminator, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from spinsim.errors import did_you_mean
from spinsim.scenario.yaml_places import KeyPath


class Problem(NamedTuple):
    """A key, and what is wrong with it; what is allowed."""

    path: KeyPath
    message: str


@dataclass(frozen=True, slots=True)
class _Node:
    """A place in the schema: its type, what limits it, and the key that tells a union's members apart.

    ``tagged``: a function tells them apart, by tags that locations carry and keys do not.
    """

    base: Any
    limits: tuple[Any, ...] = ()
    discriminator: str | None = None
    tagged: bool = False


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Every error of ``error`` as a Problem, without pydantic's own path segments."""
    found: dict[Problem, None] = {}
    for details in error.errors(include_url=False):
        for problem in _explain_one(details, model):
            found[problem] = None
    return list(found)


def one_of(allowed: Iterable[str]) -> str:
    """``a, b or c``."""
    names = list(allowed)
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1] if names else "nothing") if part)


def show(value: object) -> str:
    """A value as the YAML would have it, short."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else text[:36] + "...'"


def _explain_one(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Problem]:
    kind, value = details["type"], details["input"]
    path, node, parent = _walk(model, details["loc"], value)
    if node is None and kind != "extra_forbidden":
        return
    context = details.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = list(parent.base.model_fields)
        hint = did_you_mean(path[-1], allowed) or _elsewhere(model, path)
        yield Problem(path, f"unknown key; allowed: {', '.join(allowed)}{hint}")
    elif node is None:
        return
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = list(_members(node))
        key = (*path, str(node.discriminator))
        if kind == "union_tag_not_found":
            yield Problem(key, f"missing; one of {one_of(tags)}")
        else:
            tag = str(context.get("tag"))
            yield Problem(key, f"{tag!r} is not known; one of {one_of(tags)}{did_you_mean(tag, tags)}")
    elif kind == "missing":
        yield Problem(path, f"missing; must be {_describe(node)}")
    elif kind == "literal_error":
        choices = [str(choice) for choice in get_args(node.base)]
        yield Problem(
            path, f"{show(value)} is not known; one of {one_of(choices)}{did_you_mean(str(value), choices)}"
        )
    elif kind == "string_pattern_mismatch":
        yield Problem(
            path,
            f"{show(value)} does not do as a name; letters, digits, '-' and '_' only, "
            "at most 64 and no sign first",
        )
    elif kind == "too_short":
        if not value:  # else an item is wrong, and has an error of its own
            yield Problem(path, "is empty; give at least one")
    elif kind == "value_error":
        yield Problem(path, str(context.get("error", details["msg"])))
    else:
        yield Problem(path, f"{show(value)} is not allowed; must be {_describe(node)}{_wrapped(node, value)}")


def _elsewhere(model: type[BaseModel], path: KeyPath) -> str:
    """`` (did you mean policies.length?)`` for a key that stands in the wrong section, else nothing."""
    places = [".".join(place) for place in _keys_called(path[-1], model)]
    return f" (did you mean {one_of(places)}?)" if 0 < len(places) <= 3 else ""


def _keys_called(name: str, section: type[BaseModel]) -> Iterator[KeyPath]:
    for key, field in section.model_fields.items():
        if key == name:
            yield (key,)
        base = _field(field).base
        if isinstance(base, type) and issubclass(base, BaseModel):
            yield from ((key, *rest) for rest in _keys_called(name, base))


def _wrapped(node: _Node, value: object) -> str:
    """``, such as {name: spin}`` or ``[gpu0]``: a text that lacks but its mapping or list, else nothing."""
    if not isinstance(value, str):
        return ""
    if get_origin(node.base) is tuple and _unwrap(get_args(node.base)[0]).base is str:
        return f", such as [{value}]"
    if node.discriminator:
        return f", such as {{{node.discriminator}: {value}}}" if value in _members(node) else ""
    if isinstance(node.base, type) and issubclass(node.base, BaseModel):
        needed = [key for key, field in node.base.model_fields.items() if field.is_required()]
        return f", such as {{{needed[0]}: {value}}}" if len(needed) == 1 else ""
    return ""


def _walk(
    model: type[BaseModel], loc: tuple[int | str, ...], value: object
) -> tuple[KeyPath, _Node | None, _Node]:
    """The key path of a pydantic location, its node and the node around it.

    The node is None for an unknown key, and where a union's other member is the one to blame.
    """
    node = parent = _Node(model)
    path: KeyPath = ()
    for depth, segment in enumerate(loc):
        if segment == "[key]":
            return path, _Node(str), parent
        if node.discriminator:
            node = _members(node)[str(segment)]
            continue
        if node.tagged:
            node = _tagged(node)[str(segment)]
            continue
        if isinstance(node.base, types.UnionType) or get_origin(node.base) is Union:
            section = _section_of(node, str(segment))
            mapping = section is not None or str(segment).startswith("dict[")
            if depth == len(loc) - 1 and (mapping or isinstance(value, Mapping)):
                return path, None, parent  # not this member, but the one that the value resembles
            if section is not None:
                node = _Node(section)
                continue
            if not isinstance(value, (int, float, Mapping)):
                return path, node, parent  # none of the members
            node = next(
                part
                for part in map(_unwrap, get_args(node.base))
                if (get_origin(part.base) is dict) == mapping
            )
            continue
        path = (*path, str(segment))
        parent = node
        if isinstance(node.base, type) and issubclass(node.base, BaseModel):
            field = node.base.model_fields.get(str(segment))
            if field is None:
                return path, None, parent
            node = _field(field)
        else:
            arguments = get_args(node.base)
            node = _unwrap(arguments[1] if get_origin(node.base) is dict else arguments[0])
    return path, node, parent


def _section_of(union: _Node, name: str) -> type[BaseModel] | None:
    """The member of a union that is a section of this name."""
    parts = (_unwrap(part).base for part in get_args(union.base))
    sections = (part for part in parts if isinstance(part, type) and issubclass(part, BaseModel))
    return next((part for part in sections if part.__name__ == name), None)


def _field(field: FieldInfo) -> _Node:
    node = _unwrap(field.annotation)
    discriminator = field.discriminator if isinstance(field.discriminator, str) else node.discriminator
    return _Node(node.base, (*field.metadata, *node.limits), discriminator, node.tagged)


def _unwrap(annotation: Any) -> _Node:
    """Without ``Annotated`` and ``| None``, whose contents become limits and discriminator."""
    limits: tuple[Any, ...] = ()
    discriminator = None
    tagged = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extras = get_args(annotation)
            for extra in extras:
                if isinstance(extra, Discriminator):
                    tagged = True
                elif isinstance(extra, FieldInfo):
                    limits += tuple(extra.metadata)
                    discriminator = (
                        extra.discriminator if isinstance(extra.discriminator, str) else discriminator
                    )
                else:
                    limits += (extra,)
            continue
        if isinstance(annotation, types.UnionType) or get_origin(annotation) is Union:
            parts = [part for part in get_args(annotation) if part is not types.NoneType]
            if len(parts) == 1:
                annotation = parts[0]
                continue
        return _Node(annotation, limits, discriminator, tagged)


def _tagged(node: _Node) -> dict[str, _Node]:
    """A union's members by the tags that a function chooses from."""
    return {
        extra.tag: _unwrap(part)
        for part in get_args(node.base)
        for extra in part.__metadata__
        if isinstance(extra, Tag)
    }


def _members(node: _Node) -> dict[str, _Node]:
    """A discriminated union's models by tag."""
    members = {}
    for part in get_args(node.base):
        model = _unwrap(part).base
        (tag,) = get_args(model.model_fields[str(node.discriminator)].annotation)
        members[str(tag)] = _Node(model)
    return members


def _describe(node: _Node) -> str:
    """What a value there must be."""
    base, origin = node.base, get_origin(node.base)
    if node.tagged:
        return _describe(next(iter(_tagged(node).values())))
    if node.discriminator:
        alone = any(
            isinstance(limit, BeforeValidator) for limit in node.limits
        )  # which makes a mapping of it
        number = "a number, or " if alone else ""
        return f"{number}a mapping with `{node.discriminator}`: {one_of(_members(node))}"
    if origin is Literal:
        return f"one of {one_of(str(choice) for choice in get_args(base))}"
    if origin is tuple:
        return f"a list; each item {_describe(_unwrap(get_args(base)[0]))}"
    if origin is dict:
        return f"a mapping from names to values; each value {_describe(_unwrap(get_args(base)[1]))}"
    if isinstance(base, types.UnionType) or origin is Union:
        return " or ".join(
            _describe(part) for part in map(_unwrap, get_args(base)) if part.base is not types.NoneType
        )
    if isinstance(base, type) and issubclass(base, BaseModel):
        keys = [name for name, field in base.model_fields.items() if field.is_required()]
        return f"a mapping{' with ' + ', '.join(keys) if keys else ''}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return " ".join(part for part in (words.get(base, "a value"), _bounds(node)) if part)


def _bounds(node: _Node) -> str:
    """``from 0 to 1``, ``above 0`` and so on."""
    said = []
    for limit in node.limits:
        match limit:
            case Gt(gt=bound):
                # whole numbers above 0 are easier to say as "at least 1"
                said.append(
                    f"of at least {int(str(bound)) + 1}" if node.base is int else f"above {_number(bound)}"
                )
            case Ge(ge=bound):
                said.append(f"of at least {_number(bound)}")
            case Lt(lt=bound):
                said.append(f"below {_number(bound)}")
            case Le(le=bound):
                said.append(f"at most {_number(bound)}")
            case _:
                pass
    return " and ".join(said)


def _number(bound: object) -> str:
    """``1``, ``0.5``, ``1,000,000``."""
    return f"{bound:,.0f}" if isinstance(bound, int | float) and bound >= 1e4 else f"{bound}"
