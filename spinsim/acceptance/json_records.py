"""Records of other people's files: JSON Lines or a JSON array, read field by field.

What is wrong with a field is told by file, line and the field's path within the record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.errors import InputError, reason_of
from spinsim.files import DAMAGED, once_each, open_text

MOST_TOKENS = 1 << 24  # of one request: whatever counts more is no recording of tokens
MOST_ID = (1 << 32) - 1  # of a token, as traces keep them


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object within a record. ``at``: its path there; ``expected``: what a record of the format has.

    Its methods give a field of the kind that they are named after, and raise InputError for another.
    """

    values: Mapping[str, Any]
    file: str
    line: int
    expected: str
    at: str = ""

    def wrong(self, reason: str, key: str = "") -> InputError:
        """What to raise for a field, or for the object itself."""
        place = ".".join(part for part in (self.at, key) if part)
        return InputError(f"{reason}; {self.expected}", key=place, file=self.file, line=self.line)

    def object(self, key: str, item: int | None = None) -> Fields:
        """A JSON object; with ``item`` the one at this place of a list."""
        value, path = self._value(key), key if item is None else f"{key}[{item}]"
        if item is not None:
            if not isinstance(value, list) or len(value) <= item:
                raise self.wrong(f"no list with an item {item}", key)
            value = value[item]
        if not isinstance(value, dict):
            raise self.wrong("no JSON object", path)
        at = ".".join(part for part in (self.at, path) if part)
        return Fields(value, self.file, self.line, self.expected, at)

    def number(self, key: str, least: int = 0, most: int = MOST_TOKENS) -> int:
        """A whole number from ``least`` to ``most``."""
        value = self._value(key)
        if not _is_number(value, least, most):
            raise self.wrong(f"no whole number from {least} to {most}", key)
        return int(value)

    def numbers(self, key: str, least: int = 0, most: int = MOST_TOKENS) -> list[int]:
        """A list of whole numbers from ``least`` to ``most``; it may be empty."""
        value = self._value(key)
        if not isinstance(value, list) or not all(_is_number(each, least, most) for each in value):
            raise self.wrong(f"no list of whole numbers from {least} to {most}", key)
        return value

    def token_ids(self, key: str) -> list[int]:
        """A list of token ids; it may be empty."""
        return self.numbers(key, 0, MOST_ID)

    def name(self, key: str) -> str:
        """A text or a whole number, as text."""
        value = self._value(key)
        if type(value) not in (str, int):
            raise self.wrong("neither a text nor a whole number", key)
        return str(value)

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise self.wrong("missing", key)
        return self.values[key]


def _is_number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names of a file's requests; one that was there before goes on with its number, as in `7#2`."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(found)


def json_records(path: Path, expected: str) -> Iterator[Fields]:
    """The objects of a file: one a line, blank lines left out, or those of one JSON array.

    Raises:
        InputError: the file cannot be read, or something in it is no JSON object.
    """
    try:
        with open_text(path) as file:
            for line, text in enumerate(file, 1):
                if not text.strip():
                    continue
                if text.lstrip().startswith("[") and _begins_an_array(text):
                    yield from _of_array(text + file.read(), path, line, expected)
                    return
                yield _fields(_parsed(text, path, line, expected), path, line, expected)
    except (OSError, *DAMAGED) as error:
        raise InputError(f"cannot be read: {reason_of(error)}; {expected}", file=str(path)) from error


def _begins_an_array(text: str) -> bool:
    """Of objects: any other list on a line is a line that is no object."""
    return text.lstrip()[1:].lstrip()[:1] in ("", "{")


def _parsed(text: str, path: Path, line: int, expected: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=once_each)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); {expected}", file=str(path), line=line) from error


def _of_array(text: str, path: Path, line: int, expected: str) -> Iterator[Fields]:
    """Element by element, so that each is told by the line that it begins in."""
    decoder, at, wanted = json.JSONDecoder(object_pairs_hook=once_each), text.index("[") + 1, "]"
    while True:
        at = len(text) - len(text[at:].lstrip())
        here = line + text.count("\n", 0, at)
        if text[at : at + 1] == "]" and wanted == "]":
            if text[at + 1 :].strip():
                raise InputError(f"not JSON (more behind the array); {expected}", file=str(path), line=here)
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON ({error}); {expected}", file=str(path), line=here) from error
        yield _fields(value, path, here, expected)
        at = len(text) - len(text[at:].lstrip())
        if text[at : at + 1] == ",":
            at, wanted = at + 1, ""
        elif text[at : at + 1] == "]":
            wanted = "]"
        else:
            here = line + text.count("\n", 0, at)
            raise InputError(f"not JSON (no comma); {expected}", file=str(path), line=here)


def _fields(value: Any, path: Path, line: int, expected: str) -> Fields:
    if not isinstance(value, dict):
        raise InputError(f"a JSON {type(value).__name__}; {expected}", file=str(path), line=line)
    return Fields(value, str(path), line, expected)
