"""Guesses which column of one's own traffic holds what, by the names that logs usually give them."""

from __future__ import annotations

import csv
import json
import re
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


PUBLISHED: Mapping[str, Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "csv": {
            "azure": frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}),
            "burstgpt": frozenset({"Timestamp", "Request tokens", "Response tokens"}),
        },
        "jsonl": {
            "mooncake": frozenset({"timestamp", "input_length", "output_length"}),
            "spec_bench": frozenset({"question_id", "category", "turns"}),
            "specdecode_bench": frozenset({"prompt_token_ids", "generated_token_ids"}),
        },
    }
)
ARRAYS = {"conversations": "sharegpt", "messages": "sharegpt", "instruction": "alpaca"}
ANSWERS = frozenset({"question_id", "choices", "model_id"})  # of Spec-Bench: with what was accepted
BEGINNING = 1 << 16  # characters, of an array that may be large


def published_format(path: Path, form: str) -> str | None:
    """The published format whose columns a ``csv`` or ``jsonl`` file has; None where it is another's.

    Raises InputError for answers of Spec-Bench, which are a recording. A file that cannot be read has none.
    """
    if form not in PUBLISHED:
        return None
    try:
        columns = {name.partition(".")[0] for name in _first(path, form)}
    except OSError:
        return None
    if form == "jsonl" and columns >= ANSWERS:
        raise InputError(
            "answers of Spec-Bench are a recording of acceptance; "
            f"`spinsim trace {path.name} --import spec_bench` makes a trace that --traffic takes",
            file=str(path),
        )
    return next((name for name, known in PUBLISHED[form].items() if columns >= known), None)


def published_array(path: Path) -> str | None:
    """The published format of a JSON array, by the first of its keys that tells one; None where none does."""
    try:
        with open_text(path) as file:
            keys = re.findall(r'"(\w+)"\s*:', file.read(BEGINNING))
    except (OSError, UnicodeError):
        return None
    return next((ARRAYS[key] for key in keys if key in ARRAYS), None)


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
