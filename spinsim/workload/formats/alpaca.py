"""Alpaca instructions: ``[{"instruction", "input", "output"}]``."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, json_rows
from spinsim.workload.formats.row import Reader, Row, Rows, estimate_tokens, text_field


def read(path: Path) -> Rows:
    """Prompt: the instruction and, after an empty line, its input if any. The output gives the length."""
    return json_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    prompt = text_field(record, "instruction")
    if record.get("input"):
        prompt = f"{prompt}\n\n{text_field(record, 'input')}"
    return Row(
        str(index), estimate_tokens(prompt), estimate_tokens(text_field(record, "output")), text=prompt
    )


READER = Reader(read, "a JSON array of {instruction, input, output}")
