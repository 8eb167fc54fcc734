"""Guesses which column of one's own traffic holds what, by the names that logs usually give them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from spinsim.errors import InputError
from spinsim.files import open_text
from spinsim.workload.formats.files import csv_header

NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "arrival": ("arrival", "arrival_s", "arrival_time", "timestamp", "time", "ts", "created",
                    "created_at", "start_time", "time_s", "arrival_ms", "time_ms", "timestamp_ms", "ts_ms"),
        "prompt": ("prompt_tokens", "input_tokens", "input_length", "num_prompt_tokens", "context_tokens",
                   "contexttokens", "prompt_length", "prompt_len", "input_len", "usage.prompt_tokens",
                   "prompt"),
        "output": ("output_tokens", "completion_tokens", "generated_tokens", "generatedtokens",
                   "output_length", "output_len", "num_output_tokens", "answer_tokens", "response_tokens",
                   "usage.completion_tokens", "output"),
        "text": ("text", "prompt_text", "question", "instruction", "input", "query", "prompt"),
        "domain": ("domain", "category", "task", "kind", "type"),
        "id": ("id", "request_id", "uid"),
    }
)  # fmt: skip


def guess_columns(path: Path, form: str) -> dict[str, str]:
    """The mapping of columns, as ``workload.source.columns`` has it.

    Raises InputError where no column looks like a prompt or its length or a CSV header names one twice, and
    OSError where the file cannot be opened.
    """
    record = _first(path, form)
    known = {name.lower(): name for name in record}
    found: dict[str, str] = {}
    for role, names in NAMES.items():
        for name in names:
            if name in known and known[name] not in found.values() and _fits(role, record[known[name]]):
                found[role] = known[name]
                break
    if not found.keys() & {"prompt", "text"}:
        raise InputError(
            f"no column of {path.name} looks like a prompt or its length "
            f"({', '.join(record) or 'it has none'}); say which is which, such as "
            "--columns arrival=ts,prompt=input_tokens,output=output_tokens",
            key="--columns",
        )
    if found.get("arrival", "").lower().endswith("_ms"):
        found["arrival_unit"] = "ms"
    return found


def _first(path: Path, form: str) -> dict[str, Any]:
    """The first record, nested objects by dotted paths."""
    with open_text(path) as file:
        if form == "csv":
            rows = csv.reader(file)
            header = csv_header(next(rows, []), path)
            return dict(zip(header, next(rows, []), strict=False))
        try:
            record = json.loads(next((line for line in file if not line.isspace()), "{}"))
        except ValueError:
            raise InputError("not JSON; a JSON object a line", file=str(path), line=1) from None
    return dict(_flat(record)) if isinstance(record, dict) else {}


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        found += (
            _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
        )
    return found


def _fits(role: str, value: Any) -> bool:
    """Lengths are whole numbers, and a text is none."""
    whole = str(value).strip().isdigit()
    if role in ("prompt", "output"):
        return whole
    return not whole if role == "text" else True
