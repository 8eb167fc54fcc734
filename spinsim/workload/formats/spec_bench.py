"""Spec-Bench questions (hemingkx/Spec-Bench, arXiv 2401.07851): prompts in categories."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, jsonl_rows
from spinsim.workload.formats.row import (
    BadRow,
    Reader,
    Row,
    Rows,
    estimate_tokens,
    key_field,
    optional_text,
)


def read(path: Path) -> Rows:
    """The first turn is the prompt, the category the domain; a reference answer gives the output length.

    Only some questions have a reference: the others need ``workload.output_tokens``.
    """
    return jsonl_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    turns = record.get("turns")
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str) or not turns[0].strip():
        raise BadRow("turns is no list of texts; [question, ...]")
    reference = record.get("reference")
    if isinstance(reference, list):
        reference = reference[0] if reference else None
    output = estimate_tokens(reference) if isinstance(reference, str) and reference.strip() else None
    return Row(
        key_field(record, "question_id", index),
        estimate_tokens(turns[0]),
        output,
        text=turns[0],
        domain=optional_text(record, "category"),
    )


READER = Reader(read, "JSON Lines with question_id, category, turns and perhaps reference")
