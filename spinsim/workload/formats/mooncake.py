"""Mooncake traces (kvcache-ai/Mooncake, FAST'25): times in milliseconds and token counts."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, jsonl_rows
from spinsim.workload.formats.row import BadRow, Reader, Row, Rows, count_field, seconds_field


def read(path: Path) -> Rows:
    """``hash_ids`` name blocks of 512 prompt tokens: prompts that begin alike begin with the same ids."""
    return jsonl_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    arrival_s = seconds_field(record, "timestamp") / 1e3
    prompt, output = count_field(record, "input_length"), count_field(record, "output_length")
    return Row(str(index), prompt, output, arrival_s, blocks=_blocks(record))


def _blocks(record: Record) -> tuple[int, ...]:
    given = record.get("hash_ids")
    if given is None:
        return ()
    if not isinstance(given, list) or not all(type(block) is int for block in given):
        raise BadRow("hash_ids is no list of whole numbers; a list, or nothing")
    return tuple(given)


READER = Reader(
    read, "JSON Lines with timestamp (ms), input_length, output_length, and hash_ids for a prefix cache"
)
