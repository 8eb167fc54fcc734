"""CSV, JSON Lines and JSON arrays as records with line numbers; a bad row never stops the file."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.files import once_each, open_text
from spinsim.workload.formats.row import BadRow, Row, Rows
from spinsim.workload.request import MalformedRow

Record = Mapping[str, Any]
Parse = Callable[[Record, int], Row]  # a record and its index among the file's rows -> a request

SPACES = " \t\r\n"


def csv_rows(path: Path, columns: tuple[str, ...], parse: Parse) -> Rows:
    """Rows of a CSV file whose header names at least ``columns``.

    Raises:
        OSError: the file cannot be opened.
        InputError: its header lacks a column, or names one twice.
    """
    csv.field_size_limit(2**31 - 1)  # process-wide; the default of 128 KiB is shorter than long prompts
    with open_text(path) as file:
        reader = csv.reader(file)
        header = csv_header(next(reader, []), path)
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(
                f"no column {', '.join(missing)} in the header ({_short(header) or 'empty'}); "
                f"a CSV file with columns {', '.join(columns)}",
                file=str(path),
                line=1,
            )
        index = 0
        while True:
            line = reader.line_num + 1  # a quoted field may span lines: name the first
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                if not cells:  # a blank line
                    continue
                if len(cells) != len(header):
                    raise BadRow(f"{len(cells)} fields; {len(header)}, as in the header")
                yield parse(dict(zip(header, cells, strict=True)), index)
            except (BadRow, csv.Error) as error:
                yield MalformedRow(str(path), line, str(error))
            index += 1


def csv_header(cells: Sequence[str], path: Path) -> list[str]:
    """The names in a header. Raises InputError where two columns have one name: which is meant is not known.

    Columns without a name cannot be asked for, and there may be several.
    """
    header = [name.strip() for name in cells]
    for name, count in Counter(filter(None, header)).items():
        if count > 1:
            raise InputError(
                f"{count} columns of the header have this name; rename or remove all but one",
                key=f"column {name}",
                file=str(path),
                line=1,
            )
    return header


def jsonl_rows(path: Path, parse: Parse) -> Rows:
    """Rows of a file with one JSON object a line. Raises OSError when it cannot be opened."""
    with open_text(path) as file:
        index = 0
        for line, text in enumerate(file, 1):
            if text.isspace():
                continue
            try:
                yield parse(_object(json.loads(text, object_pairs_hook=once_each)), index)
            except (BadRow, ValueError, RecursionError) as error:
                yield MalformedRow(str(path), line, _problem(error))
            index += 1


def json_rows(path: Path, parse: Parse) -> Rows:
    """Rows of a JSON array of objects, or of JSON Lines, whichever the file's first character says.

    The array is decoded element by element. After a syntax error nothing can be trusted: what is
    left of the file is one malformed row. The file's text is held in memory. Raises OSError when the file
    cannot be opened.
    """
    with open_text(path) as file:
        text = file.read()
    start = _skip_spaces(text, 0)
    if text[start : start + 1] != "[":
        yield from jsonl_rows(path, parse)
        return
    for index, (line, item) in enumerate(_elements(text, start + 1)):
        try:
            if isinstance(item, BadRow):
                raise item
            yield parse(_object(item), index)
        except BadRow as error:
            yield MalformedRow(str(path), line, str(error))


def _elements(text: str, at: int) -> Iterator[tuple[int, Any]]:
    """(line, element) of the array that begins before ``at``; a BadRow where the JSON breaks off."""
    decoder = json.JSONDecoder(object_pairs_hook=once_each)
    line, counted = 1, 0
    at = _skip_spaces(text, at)
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = decoder.raw_decode(text, at)
            yield line, item
            at = _skip_spaces(text, at)
            if text[at : at + 1] == ",":
                at = _skip_spaces(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
        except (ValueError, RecursionError) as error:
            yield (
                line + text.count("\n", counted, at),
                BadRow(f"{_problem(error)}; the rest of the file is not read"),
            )
            return


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACES:
        at += 1
    return at


def _object(value: Any) -> Record:
    if not isinstance(value, dict):
        raise BadRow(f"a JSON {type(value).__name__}; an object")
    return value


def _problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return str(error) if isinstance(error, BadRow) else f"not JSON: {error}"


def _short(header: Sequence[str]) -> str:
    """The columns in one line: what is no table may have a line of megabytes."""
    text = ", ".join(header)
    return text if len(text) <= 200 else text[:197] + "..."
