"""YAML with places: plain values, and the line of every key.

What ``yaml.safe_load`` accepts, with four differences that spare users surprises: a key given
twice is an error, ``1e-3`` is a number, a date is text, and infinities are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from spinsim.errors import InputError

KeyPath = tuple[str, ...]

_TAG = "tag:yaml.org,2002:"
_UNWANTED = {_TAG + "timestamp", _TAG + "value"}
_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str")}
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
_DEEPEST = 40
_MOST_VALUES = 100_000  # aliases can make a short file enormous


class Place(NamedTuple):
    """Where a value comes from: a file and line, or the text of an override and 0."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values (mappings with text keys, lists as tuples) and the place of every key."""

    data: Any
    places: dict[KeyPath, Place]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - the shape that PyYAML wants
        first: [(tag, regex) for tag, regex in resolvers if tag not in _UNWANTED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that ``_Loader`` would take for numbers."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(_TAG + "float", _EXPONENT, list("-+0123456789"))


def dump(values: Any) -> str:
    """Plain values as YAML that :func:`parse` reads back."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return str(text)


def parse(text: str, file: str) -> Document:
    """``text`` as plain values; raises InputError that names ``file`` and the line."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {(): Place(file, 1)})
        return _Reader(loader, file).document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        raise InputError(
            f"not valid YAML: character U+{code:04X}; only printable text is allowed", file=file, line=line
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise InputError(
            f"not valid YAML: {problem}; check indentation (spaces only), quotes and brackets",
            file=file,
            line=mark.line + 1 if mark else 1,
        ) from None
    except RecursionError:
        raise InputError(_too_deep(), file=file, line=1) from None
    finally:
        if loader is not None:
            loader.dispose()


def _too_deep() -> str:
    return f"nested too deeply; at most {_DEEPEST} levels"


class _Reader:
    """Nodes to plain values, noting places on the way."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._places: dict[KeyPath, Place] = {}
        self._values = 0

    def document(self, root: yaml.Node) -> Document:
        self._places[()] = self._place(root)
        return Document(self._value(root, ()), self._places)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)

    def _error(self, node: yaml.Node, path: KeyPath, message: str) -> InputError:
        return InputError(message, key=".".join(path), file=self._file, line=node.start_mark.line + 1)

    def _count(self, node: yaml.Node, path: KeyPath) -> None:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise self._error(node, path, f"too many values; at most {_MOST_VALUES:,}, aliases unfolded")

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, path)
        if len(path) > _DEEPEST:
            raise self._error(node, path[:3], _too_deep())
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return tuple(self._item(item, (*path, str(i))) for i, item in enumerate(node.value))
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        tag = node.tag.replace(_TAG, "!!")
        raise self._error(node, path, f"tag {tag} is not allowed; only plain values, lists and mappings are")

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self._places[path] = self._place(node)
        return self._value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged.append(value_node)
                continue
            key = self._key(key_node, path)
            here = (*path, key)
            if key in values:
                first = self._places[here].line
                raise self._error(key_node, here, f"given twice, first on line {first}; keep one")
            self._places[here] = self._place(key_node)
            values[key] = self._value(value_node, here)
        for value_node in merged:
            self._merge(value_node, path, values)
        return values

    def _merge(self, node: yaml.Node, path: KeyPath, values: dict[str, Any]) -> None:
        """``<<: *base``: keys of the base that are not given here; places are those of the base."""
        self._count(node, path)
        if isinstance(node, yaml.SequenceNode):
            for part in node.value:
                self._merge(part, path, values)
            return
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, (*path, "<<"), "merges no mapping; give an alias of a mapping")
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                self._merge(value_node, path, values)
                continue
            key = self._key(key_node, path)
            if key not in values:
                self._places[(*path, key)] = self._place(key_node)
                values[key] = self._value(value_node, (*path, key))

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str":
            return str(self._scalar(node, path))
        shown = f"{node.value} " if isinstance(node, yaml.ScalarNode) else ""
        raise self._error(node, path, f"key {shown}is not text; put it in quotes")

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            value = self._loader.construct_object(node)
        except ValueError:
            value = None if node.tag == _TAG + "null" else math.nan
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise self._error(node, path, "half a surrogate pair; only Unicode text is allowed")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise self._error(node, path, "too large; whole numbers stay below 2^63")
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, path, f"{node.value[:40]} is not a finite number; give one")
        return value
