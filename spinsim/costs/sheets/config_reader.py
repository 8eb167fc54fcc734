"""Values of a config.json by our names, typed, with the line of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinsim.costs.sheets.architecture import Architecture, Trait
from spinsim.errors import InputError


@dataclass(frozen=True, slots=True)
class ConfigReader:
    """``values`` of the file over ``defaults`` of the format.

    ``text_of_file`` places errors; it starts after line ``before``.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    architecture: Architecture
    file: str
    text_of_file: str = ""
    before: int = 0

    def wrong(self, name: str, message: str) -> InputError:
        """The error for a key, called as the file calls it."""
        key = next((k for k in self.architecture.format_keys(name) if k in self.values), name)
        found = re.search(rf'"{re.escape(key)}"\s*:', self.text_of_file)
        line = self.before + self.text_of_file.count("\n", 0, found.start()) + 1 if found else 0
        return InputError(message, key=key, file=self.file, line=line)

    def has(self, name: str) -> bool:
        """Does the format have this key?"""
        return any(key in self.defaults for key in self.architecture.format_keys(name))

    def value(self, name: str) -> Any:
        """The file's value, else the format's default; None where the format has no such key."""
        keys = self.architecture.format_keys(name)
        given = next((self.values[key] for key in keys if key in self.values), None)
        return given if given is not None or self._given(name) else self._default(name)

    def _given(self, name: str) -> bool:
        return any(key in self.values for key in self.architecture.format_keys(name))

    def _default(self, name: str) -> Any:
        keys = self.architecture.format_keys(name)
        return next((self.defaults[key] for key in keys if key in self.defaults), None)

    def number(self, name: str, derived: int | None = None, least: int = 1) -> int:
        """A whole number from ``least``; ``derived`` where it is null. Raises InputError."""
        value = self.value(name)
        if value is None:
            value = derived
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            allowed = "expected a positive integer" if least == 1 else f"expected an integer from {least}"
            raise self.wrong(name, f"is {'null' if value is None else repr(value)}; {allowed}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; the format's default where it is null. Raises InputError."""
        value = self.value(name)
        if value is None:
            value = self._default(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, f"is {value!r}; true or false")
        return value

    def trait(self, trait: Trait) -> bool:
        """A trait of the architecture, asked from its key where it has one."""
        if isinstance(trait, bool):
            return trait
        return self.flag(trait)

    def text(self, name: str) -> str:
        """A string. Raises InputError where it is missing or something else."""
        value = self.value(name)
        if not isinstance(value, str):
            wrong = "is missing" if value is None else f"is {value!r}"
            raise self.wrong(name, f"{wrong}; the architecture's name, such as llama")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers; none where it is null. Raises InputError."""
        value = self.value(name) or []
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise self.wrong(name, f"is {value!r}; a list of layers' numbers")
        return tuple(value)
