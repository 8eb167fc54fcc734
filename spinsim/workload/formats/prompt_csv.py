"""A CSV file with a ``prompt`` column, as awesome-chatgpt-prompts has it."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, csv_rows
from spinsim.workload.formats.row import Reader, Row, Rows, estimate_tokens, text_field


def read(path: Path) -> Rows:
    """Prompts alone: the scenario must say ``workload.output_tokens``."""
    return csv_rows(path, ("prompt",), _row)


def _row(record: Record, index: int) -> Row:
    prompt = text_field(record, "prompt")
    return Row(str(index), estimate_tokens(prompt), text=prompt)


READER = Reader(read, "a CSV file with a column prompt")
