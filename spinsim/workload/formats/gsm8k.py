"""GSM8K (openai/grade-school-math): mathematical word problems with worked answers."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, jsonl_rows
from spinsim.workload.formats.row import Reader, Row, Rows, estimate_tokens, text_field


def read(path: Path) -> Rows:
    """The question is the prompt; the worked answer gives the output length."""
    return jsonl_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    question = text_field(record, "question")
    return Row(
        str(index), estimate_tokens(question), estimate_tokens(text_field(record, "answer")), text=question
    )


READER = Reader(read, "JSON Lines with question and answer")
