"""From a source's file to the rows that a scenario asks for: slicing, capping, repeating."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from spinsim.errors import InputError
from spinsim.files import DAMAGED
from spinsim.scenario import MOST_REQUESTS, Source
from spinsim.workload.formats import reader_of
from spinsim.workload.formats.row import Row
from spinsim.workload.request import MalformedRow

HOPELESS = 1000  # malformed rows before the first good one: it is another format, and may be large


class Rows(NamedTuple):
    """Rows in order of arrival (of the file, where it records no times), and what was malformed.

    ``arrival_s`` of the rows counts from ``start_s``, or from the first row kept.
    """

    rows: list[Row]
    malformed: list[MalformedRow]
    timed: bool
    read: int  # good rows, those left out by the slice included


def resolve(path: str, base_dir: Path, key: str) -> Path:
    """``path`` with ``$NAME``, ``${NAME}`` and ``~`` expanded, relative to ``base_dir``.

    Raises:
        InputError: a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise InputError(
                f"${name} is not set; export it, as the folder or file that it stands for", key=key
            )
        return os.environ[name]

    return base_dir / Path(re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, path)).expanduser()


def load_rows(source: Source, base_dir: Path) -> Rows:
    """Read a source and keep its slice.

    In this order: rows that are malformed are set aside; ``skip`` rows are left out; those from
    ``start_s`` up to (not including) ``end_s`` are kept, counted from the file's first row;
    ``limit`` caps their number. Reading stops there: malformed rows behind the slice are not counted.

    Raises:
        InputError: no such file, not a file of this format, no row in the slice.
    """
    path = resolve(source.path, base_dir, "workload.source.path")
    reader = reader_of(source)
    if source.start_s is not None and source.end_s is not None and source.end_s <= source.start_s:
        raise InputError(
            f"end_s {source.end_s:g} is not after start_s {source.start_s:g}; end_s > start_s",
            key="workload.source.end_s",
        )
    malformed: list[MalformedRow] = []
    try:
        rows, seen, zero = _slice(reader.read(path), source, malformed)
    except DAMAGED as error:
        raise InputError(
            f"{path} is damaged: {error}; a whole compressed file", key="workload.source.path"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; {reader.expected}", key="workload.source.path"
        ) from error
    if not seen:
        first = malformed[0] if malformed else MalformedRow(str(path), 1, "the file holds no rows")
        raise InputError(
            f"no row of format {source.format}: {first.problem}; {reader.expected}",
            key="workload.source",
            file=first.file,
            line=first.line,
        )
    if not rows:
        raise InputError(
            f"the slice holds none of the {seen} rows of {path}; a smaller skip, or a wider start_s to end_s",
            key="workload.source",
        )
    if len(rows) * source.copies > MOST_REQUESTS:
        raise InputError(
            f"{source.copies:,} copies of {len(rows):,} rows; at most {MOST_REQUESTS:,} requests in all",
            key="workload.source.copies",
        )
    if zero is not None:
        rows.sort(key=_arrival)
        zero = zero + source.start_s if source.start_s is not None else _arrival(rows[0])
        rows = [row._replace(arrival_s=_arrival(row) - zero) for row in rows]
    capped = [_capped(row, source) for row in rows for _ in range(source.copies)]
    return Rows(capped, malformed, timed=zero is not None, read=seen)


def repeated(rows: list[Row], count: int) -> list[Row]:
    """The first ``count`` rows of endless repetition."""
    return list(islice(cycle(rows), count))


def _slice(
    items: Iterable[Row | MalformedRow], source: Source, malformed: list[MalformedRow]
) -> tuple[list[Row], int, float | None]:
    """Rows kept, good rows seen, and the time of the file's first row."""
    kept: list[Row] = []
    seen = 0
    zero: float | None = None
    start = 0.0 if source.start_s is None else source.start_s
    windowed = source.start_s is not None or source.end_s is not None
    for item in items:
        if isinstance(item, MalformedRow):
            malformed.append(item)
            if not seen and len(malformed) == HOPELESS:
                break
            continue
        if not seen:
            zero = item.arrival_s
            if windowed and zero is None:
                raise InputError(
                    f"format {source.format} records no times to slice by; skip and limit count rows",
                    key="workload.source." + ("end_s" if source.start_s is None else "start_s"),
                )
        seen += 1
        if seen <= source.skip:
            continue
        if windowed and zero is not None:
            at = _arrival(item) - zero
            if at < start or (source.end_s is not None and at >= source.end_s):
                continue
        kept.append(item)
        if len(kept) == source.limit:
            break
    return kept, seen, zero


def _arrival(row: Row) -> float:
    assert row.arrival_s is not None  # a reader gives times to all its rows, or to none
    return row.arrival_s


def _capped(row: Row, source: Source) -> Row:
    """Lengths cut to the caps; a text is left whole, for a live run to cut after tokenizing."""
    prompt_cap, output_cap = source.max_prompt_tokens, source.max_output_tokens
    if prompt_cap is not None and row.prompt_tokens > prompt_cap:
        row = row._replace(prompt_tokens=prompt_cap, prompt=row.prompt and row.prompt[:prompt_cap])
    if output_cap is not None and row.output_tokens is not None and row.output_tokens > output_cap:
        row = row._replace(output_tokens=output_cap)
    return row
