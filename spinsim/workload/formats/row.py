"""What every reader yields, and the checks that readers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spinsim.workload.request import MalformedRow

BYTES_PER_TOKEN = 4


class Row(NamedTuple):
    """One request of a source.

    ``arrival_s``: seconds on the source's own clock; None where it records none.
    ``output_tokens``: None where the source holds no answer to measure.
    ``prompt``: token ids, ``text``: the prompt, where the source has them. ``domain``: its category.
    ``blocks``: names of the prompt's blocks, equal where prompts begin alike.
    """

    key: str
    prompt_tokens: int
    output_tokens: int | None = None
    arrival_s: float | None = None
    text: str | None = None
    prompt: tuple[int, ...] | None = None
    domain: str = ""
    blocks: tuple[int, ...] = ()


class BadRow(Exception):
    """A row that cannot become a request; the message says what is wrong with it."""


Rows = Iterator[Row | MalformedRow]


@dataclass(frozen=True, slots=True)
class Reader:
    """A format: how to read it, and what a file of it looks like (for error messages)."""

    read: Callable[[Path], Rows]
    expected: str


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: one per four bytes of UTF-8, rounded up, at least 1 (ours).

    Four bytes a token is the usual figure for English under byte-pair vocabularies of 32 to 128
    thousand entries. Counting bytes, not characters, keeps other scripts within a factor of two.
    """
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise BadRow("text is not valid UTF-8") from None
    return max(1, -(-size // BYTES_PER_TOKEN))


def count_field(record: Mapping[str, Any], name: str) -> int:
    """The field as an integer from 1 to 2^31 - 1. It may be written 12.0, as tables with gaps are."""
    value = record.get(name)
    if isinstance(value, str):
        with suppress(ValueError):
            value = int(value)
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value) if float(value).is_integer() else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise BadRow(f"{name} is {_shown(value)}; an integer from 1 to 2^31 - 1")
    return value


def key_field(record: Mapping[str, Any], name: str, index: int) -> str:
    """The row's own name, or its index among the file's rows."""
    value = record.get(name)
    return _whole(str(index if value is None else value))


def seconds_field(record: Mapping[str, Any], name: str) -> float:
    """The field as a finite number."""
    value = record.get(name)
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadRow(f"{name} is {_shown(value)}; a number")
    return number


def text_field(record: Mapping[str, Any], name: str) -> str:
    """The field as a text that is not blank."""
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"{name} is {_shown(value)}; a text")
    return _whole(value)


def _whole(text: str) -> str:
    """A text that can be written again: JSON may spell halves of characters."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRow("text is not valid UTF-8") from None
    return text


def optional_text(record: Mapping[str, Any], name: str) -> str:
    """The field as a text; empty where it is missing, null or blank, for what a request can do without."""
    value = record.get(name)
    if not value or (isinstance(value, str) and not value.strip()):
        return ""
    return text_field(record, name)


def _shown(value: object) -> str:
    """A value in an error message, cut to a readable length."""
    if value is None:
        return "missing"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
