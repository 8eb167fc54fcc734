"""Mooncake traces (kvcache-ai/Mooncake, FAST'25): times in milliseconds and token counts."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, jsonl_rows
from spinsim.workload.formats.row import Reader, Row, Rows, count_field, seconds_field


def read(path: Path) -> Rows:
    """``hash_ids``, which tell what prompts have in common, are not used: there is no prefix cache."""
    return jsonl_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    arrival_s = seconds_field(record, "timestamp") / 1e3
    return Row(
        str(index), count_field(record, "input_length"), count_field(record, "output_length"), arrival_s
    )


READER = Reader(read, "JSON Lines with timestamp (ms), input_length, output_length")
