"""Alpaca instructions: ``[{"instruction", "input", "output"}]``."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, json_rows
from spinsim.workload.formats.row import Reader, Row, Rows, estimate_tokens, optional_text, text_field


def read(path: Path) -> Rows:
    """Prompt: the instruction and, after an empty line, its input if any. The output gives the length."""
    return json_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    prompt = text_field(record, "instruction")
    if given := optional_text(record, "input"):
        prompt = f"{prompt}\n\n{given}"
    return Row(
        str(index), estimate_tokens(prompt), estimate_tokens(text_field(record, "output")), text=prompt
    )


READER = Reader(read, "a JSON array of {instruction, input, output}")
