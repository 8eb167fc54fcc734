"""The workload of a first scenario: a file of the user's, or drawn requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinsim.errors import InputError, reason_of
from spinsim.scenario import Columns, Source
from spinsim.starting.columns import guess_columns, published_array, published_format
from spinsim.workload.formats import READERS
from spinsim.workload.source import load_rows

CONTEXT = 4096  # tokens, for drawn requests of no stated length
OWN = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".npz": "spinsim"}
LENGTHS: dict[str, dict[str, Any]] = {
    "prompt_tokens": {"distribution": "lognormal", "median": 512, "sigma": 0.8, "min": 16, "max": 3072},
    "output_tokens": {"distribution": "lognormal", "median": 160, "sigma": 0.6, "min": 8, "max": 1024},
}
STATED = {"prompt_tokens": (0.3, 2), "output_tokens": (0.6, 4)}  # sigma, and the longest over the median
REQUESTS, CLIENTS = 200, 16


@dataclass(frozen=True)
class Traffic:
    """``workload`` as the YAML has it, the longest request, and what was assumed, by key."""

    workload: dict[str, Any]
    longest_tokens: int
    assumed: dict[str, str]


def drawn(
    rate_per_s: float | None,
    clients: int | None,
    most_tokens: int,
    prompt_tokens: int | None = None,
    output_tokens: int | None = None,
) -> Traffic:
    """Requests without a file, none longer than ``most_tokens``, prompt and output together.

    ``prompt_tokens`` and ``output_tokens``: medians that the user states. Without any, requests stay within
    :data:`CONTEXT`. Raises InputError where the medians together are longer than ``most_tokens``.
    """
    lengths, longest = _lengths(most_tokens, prompt_tokens, output_tokens)
    prompts, outputs = lengths["prompt_tokens"]["median"], lengths["output_tokens"]["median"]
    assumed = {
        "workload": f"lengths are drawn: prompts of some {prompts} tokens, outputs of some {outputs}; "
        "put your own"
    }
    arrivals = _arrivals(rate_per_s, clients, timed=False, assumed=assumed)
    return Traffic({"requests": REQUESTS, "arrivals": arrivals, **lengths}, longest, assumed)


def _lengths(most: int, prompt: int | None, output: int | None) -> tuple[dict[str, dict[str, Any]], int]:
    """``prompt_tokens`` and ``output_tokens`` as the YAML has them, and the longest request."""
    if prompt is None and output is None:
        most = min(most, CONTEXT)
        return {
            "prompt_tokens": {**LENGTHS["prompt_tokens"], "max": most * 3 // 4},
            "output_tokens": {**LENGTHS["output_tokens"], "max": most // 4},
        }, most
    prompts, outputs = around("prompt_tokens", prompt), around("output_tokens", output)
    spare = most - prompts["median"] - outputs["median"]
    if spare < 0:
        raise InputError(
            f"prompts of {prompts['median']} and outputs of {outputs['median']} tokens are longer than the "
            f"models hold; at most {most} together, or other models",
            key="--output-tokens" if prompt is None else "--prompt-tokens",
        )
    outputs["max"] = min(outputs["max"], outputs["median"] + spare)
    prompts["max"] = min(prompts["max"], most - outputs["max"])
    return {"prompt_tokens": prompts, "output_tokens": outputs}, prompts["max"] + outputs["max"]


def around(key: str, median: int | None) -> dict[str, Any]:
    """Lengths around a median that the user states, or the usual ones."""
    if median is None:
        return dict(LENGTHS[key])
    sigma, times = STATED[key]
    return {"distribution": "lognormal", "median": median, "sigma": sigma, "min": 1, "max": times * median}


def from_file(
    path: Path,
    form: str | None,
    columns: Mapping[str, str] | None,
    *,
    rate_per_s: float | None,
    clients: int | None,
    output_tokens: int | None,
    beside: Path,
) -> Traffic:
    """Requests of a file, which is read. ``beside``: the folder that the scenario's paths start at.

    ``output_tokens``: the median of outputs, in place of the file's own.

    Raises InputError for a file that cannot be read, a format that is unknown, or columns that are not there.
    """
    assumed: dict[str, str] = {}
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{what}; --traffic takes a file of requests", file=str(path))
    if form is None and (form := guessed_format(path)) not in OWN.values():
        assumed["workload.source.format"] = f"the file is read as {form}, by the names in its first record"
    if form not in READERS:
        raise InputError(f"no format {form!r}; one of {', '.join(READERS)}", key="--format")
    if form in ("csv", "jsonl") and columns is None:
        try:
            columns = guess_columns(path, form)
        except OSError as error:
            raise InputError(f"cannot be read: {reason_of(error)}", file=str(path)) from None
        assumed["workload.source.columns"] = "columns were guessed by their names"
    if columns is not None and (unknown := columns.keys() - Columns.model_fields.keys()):
        raise InputError(
            f"no role {min(unknown)!r}; one of {', '.join(Columns.model_fields)}", key="--columns"
        )
    source = Source.model_validate(
        {"format": form, "path": str(path.resolve()), "columns": columns and Columns(**columns)}  # type: ignore[arg-type]
    )
    read = load_rows(source, Path())
    outputs = [row.output_tokens for row in read.rows]
    workload: dict[str, Any] = {
        "arrivals": _arrivals(rate_per_s, clients, timed=read.timed, assumed=assumed),
        "source": {"format": form, "path": os.path.relpath(path, beside)},
    }
    if columns is not None:
        workload["source"]["columns"] = dict(columns)
    longest_output = max((tokens for tokens in outputs if tokens is not None), default=0)
    if output_tokens is not None or None in outputs:
        workload["output_tokens"] = around("output_tokens", output_tokens)
        longest_output = workload["output_tokens"]["max"]
    if output_tokens is None and None in outputs:
        assumed["workload.output_tokens"] = "the file has no output lengths: they are drawn, some 160 tokens"
    if columns is not None and "prompt" not in columns:
        assumed["prompts"] = "four bytes of a prompt's text are taken for a token"
    longest = max(row.prompt_tokens for row in read.rows) + longest_output
    if read.malformed:
        first = read.malformed[0]
        assumed["malformed"] = (
            f"{len(read.malformed)} of its rows are left out, the first in line {first.line}: {first.problem}"
        )
    return Traffic(workload, longest, assumed)


def _arrivals(
    rate_per_s: float | None, clients: int | None, *, timed: bool, assumed: dict[str, str]
) -> dict[str, Any]:
    if rate_per_s is not None and clients is not None:
        raise InputError("a rate and a number of clients exclude each other; give one", key="--clients")
    if rate_per_s is not None:
        return {"process": "poisson", "rate_per_s": rate_per_s}
    if clients is None and timed:
        assumed["workload.arrivals"] = "requests come when the file says"
        return {"process": "replay"}
    if clients is None:
        assumed["workload.arrivals"] = (
            f"{CLIENTS} clients, each sending its next request when its last one ended"
        )
    return {"process": "closed", "concurrency": clients or CLIENTS}


def guessed_format(path: Path) -> str:
    """The format that a file's name tells, or a published one that its first record tells.

    Raises InputError where neither does, or where it is a recording that has to be imported first.
    """
    for ending, form in OWN.items():
        if ending in path.suffixes:
            return published_format(path, form) or form
    if ".json" in path.suffixes and (array := published_array(path)):
        return array
    raise InputError(
        f"the format of {path.name} is not told by its name; one of {', '.join(READERS)}", key="--format"
    )
