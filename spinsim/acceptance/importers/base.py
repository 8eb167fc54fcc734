"""What every importer returns, and how files of one format become one trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spinsim.acceptance.chains import LengthSchedule
from spinsim.errors import InputError
from spinsim.recording import Ragged, Recording, Trace


class ImportOptions(NamedTuple):
    """What a format may need beside its file. ``prompts``: tokens of prompts by request's key."""

    schedule: LengthSchedule | None = None  # lengths of a chain's proposals, where the file has none
    prompts: Mapping[str, int] | None = None


class Imported(NamedTuple):
    """One file: its requests as a trace without domains, and what is to be said about it."""

    trace: Trace
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Importer:
    """A format: how to read a file, and what one looks like (for error messages)."""

    read: Callable[[Path, ImportOptions], Imported]
    expected: str


def merge(parts: Sequence[tuple[str, Imported]], command: str = "") -> Trace:
    """One trace of several files, each a domain of its own name; requests of all are mixed evenly.

    A file of n requests has its i-th at (i + 1/2) / n of the whole, so that any stretch of the trace has the
    files in the proportion of their sizes.

    Raises:
        InputError: files whose drafts differ.
    """
    first = parts[0][1].trace
    for name, (trace, _) in parts[1:]:
        if trace.drafts.keys() != first.drafts.keys():
            raise InputError(
                f"{name} has drafts {', '.join(trace.drafts)}, and {parts[0][0]} {', '.join(first.drafts)}; "
                "files of the same drafts mix",
                key="--import",
            )
    order = sorted(
        ((row + 0.5) / len(part.trace.keys), at, row)
        for at, (_, part) in enumerate(parts)
        for row in range(len(part.trace.keys))
    )
    whole = _concatenated([part.trace for _, part in parts])
    starts = np.cumsum([0, *(len(part.trace.keys) for _, part in parts)])
    mixed = whole.select([int(starts[at]) + row for _, at, row in order])
    domains = tuple(parts[at][0] for _, at, _ in order)
    keys = mixed.keys
    if len(parts) > 1:
        keys = tuple(f"{domain}/{key}" for domain, key in zip(domains, keys, strict=True))
    return Trace(
        target=mixed.target,
        keys=keys,
        prompt_tokens=mixed.prompt_tokens,
        drafts=mixed.drafts,
        domains=domains,
        prompts=mixed.prompts,
        outputs=mixed.outputs,
        temperature=mixed.temperature,
        top_p=mixed.top_p,
        command=command,
        notes={f"{name} {i}": note for name, part in parts for i, note in enumerate(part.notes, 1)},
    )


def _concatenated(traces: Sequence[Trace]) -> Trace:
    first = traces[0]
    if len(traces) == 1:
        return first
    return Trace(
        target=first.target,
        keys=tuple(key for trace in traces for key in trace.keys),
        prompt_tokens=tuple(tokens for trace in traces for tokens in trace.prompt_tokens),
        drafts={name: Recording.joined([trace.drafts[name] for trace in traces]) for name in first.drafts},
        prompts=Ragged.joined([trace.prompts for trace in traces]),
        outputs=Ragged.joined([trace.outputs for trace in traces]),
        temperature=first.temperature,
        top_p=first.top_p,
    )
