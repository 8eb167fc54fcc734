"""Traffic of the user's own: a CSV file or JSON Lines, with a mapping from what is needed to its columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from spinsim.errors import InputError
from spinsim.scenario import Columns
from spinsim.workload.formats.azure import START
from spinsim.workload.formats.files import Record, csv_rows, jsonl_rows
from spinsim.workload.formats.row import (
    BadRow,
    Reader,
    Row,
    Rows,
    count_field,
    estimate_tokens,
    key_field,
    optional_text,
    seconds_field,
    text_field,
)

ROLES = ("arrival", "prompt", "output", "text", "domain", "id")
SECONDS: Mapping[str, float] = MappingProxyType({"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9})
_KEY = "workload.source.columns"


def own_reader(form: str, columns: Columns | None) -> Reader:
    """The reader of ``form``, "csv" or "jsonl".

    Without ``columns``, a file's columns are those that have the names of ``ROLES``. A prompt is as long as
    its ``prompt`` column says, or else as :func:`estimate_tokens` makes of its text.
    """
    kind = "a CSV file with a header" if form == "csv" else "JSON Lines, an object a line"
    said = f"{kind}, with a column for prompt or text, and perhaps arrival, output, domain and id"
    return Reader(partial(_read, form=form, columns=columns), said)


def _read(path: Path, *, form: str, columns: Columns | None) -> Rows:
    parse = _Parse(columns)
    try:
        if form == "csv":
            yield from csv_rows(path, parse.named, parse)
        else:
            yield from jsonl_rows(path, parse)
    except _Unnamed as error:
        raise InputError(str(error), key=_KEY, file=str(path), line=1) from None
    except InputError as error:
        raise InputError(error.message, key=error.key or _KEY, file=error.file, line=error.line) from None


class _Unnamed(Exception):
    """The file's columns have other names, and nothing says which they are."""


class _Parse:
    """A record and its index as a row. What the first record has, every record must have."""

    def __init__(self, columns: Columns | None) -> None:
        given = {} if columns is None else {role: getattr(columns, role) for role in ROLES}
        self._columns: dict[str, str] = {role: name for role, name in given.items() if name is not None}
        self._second = SECONDS["s" if columns is None else columns.arrival_unit]
        self._found = columns is not None

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that the scenario names."""
        return tuple(self._columns.values())

    def __call__(self, record: Record, index: int) -> Row:
        if not self._found:
            self._columns = {role: role for role in ROLES if role in record}
            if not self._columns.keys() & {"prompt", "text"}:
                self._columns = {}
                there = ", ".join(map(str, record)) or "none"
                raise _Unnamed(f"no column prompt or text among {there}; {_KEY} says which columns are which")
            self._found = True
        row = _Flat(record)
        text = text_field(row, self._columns["text"]) if "text" in self._columns else None
        if "prompt" in self._columns:
            prompt = count_field(row, self._columns["prompt"])
        else:
            prompt = estimate_tokens(text or "")
        return Row(
            key_field(row, self._columns.get("id", ""), index),
            prompt,
            count_field(row, self._columns["output"]) if "output" in self._columns else None,
            self._arrival(row, self._columns["arrival"]) if "arrival" in self._columns else None,
            text=text,
            domain=optional_text(row, self._columns["domain"]) if "domain" in self._columns else "",
        )

    def _arrival(self, row: Mapping[str, Any], name: str) -> float:
        """Seconds: a number in the column's unit, or a date and time (of UTC, where it names no zone)."""
        value = row.get(name)
        if not isinstance(value, str) or _number(value):
            return seconds_field(row, name) * self._second
        try:
            when = datetime.fromisoformat(value.strip())
        except ValueError:
            raise BadRow(f"{name} is {value!r}; a number, or a date and time in ISO 8601") from None
        return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - START).total_seconds()


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Flat(dict[str, Any]):
    """A record, whose nested objects are also found by dotted paths such as ``usage.prompt_tokens``."""

    def get(self, name: Any, default: Any = None) -> Any:
        """The value at ``name``, or at the path that it spells."""
        if name in self:
            return self[name]
        here: Any = self
        for part in str(name).split("."):
            if not isinstance(here, Mapping) or part not in here:
                return default
            here = here[part]
        return here
