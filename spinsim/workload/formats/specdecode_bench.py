"""The requests of a SpecDecode-Bench recording (arXiv 2601.11580); acceptance has its own importer."""

from __future__ import annotations

from pathlib import Path

from spinsim.workload.formats.files import Record, jsonl_rows
from spinsim.workload.formats.row import BadRow, Reader, Row, Rows, key_field


def read(path: Path) -> Rows:
    """Token ids of the prompt; the output is as long as every drafter's recording of it.

    A drafter may have been recorded over a generation of its own, which ends elsewhere than
    ``generated_token_ids`` (in bf16 the target's argmax moves with the batch). The output stops
    where the shortest of them does, so that acceptance is known at every position.
    """
    return jsonl_rows(path, _row)


def _row(record: Record, index: int) -> Row:
    prompt = _ids(record, "prompt_token_ids")
    lengths = [len(_ids(record, "generated_token_ids"))]
    for name, drafter in record.items():
        if name.startswith("acc_") and isinstance(drafter, dict) and isinstance(drafter.get("acc_len"), list):
            lengths.append(len(drafter["acc_len"]))
    if min(lengths) < 1:
        raise BadRow("an empty recording; at least one token per drafter")
    return Row(key_field(record, "id", index), len(prompt), min(lengths), prompt=tuple(prompt))


def _ids(record: Record, name: str) -> list[int]:
    ids = record.get(name)
    if not isinstance(ids, list) or not ids or not all(type(i) is int and i >= 0 for i in ids):
        raise BadRow(f"{name} is no list of token ids; [id, ...]")
    return ids


READER = Reader(read, "JSON Lines with id, prompt_token_ids, generated_token_ids and acc_<drafter>.acc_len")
