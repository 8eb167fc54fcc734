"""Which shapes are worth measuring: log-spaced, on the buckets, out to the scenario's own limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from spinsim.buckets import (
    PROMPT_TOKENS,
    bucket_rows,
    bucket_tokens,
    prompt_token_buckets,
    row_buckets,
    token_buckets,
)
from spinsim.costs.profiled.fits import LONG_CONTEXT
from spinsim.costs.profiled.profile import PROMPTS
from spinsim.packings import packing_kind
from spinsim.profiling.probes import Probe, unique

FEW = 32  # tokens of a pass below which the weights decide its time
SHORT = 64  # tokens of a context whose K/V take next to no time
SHORTEST = 2  # tokens of a context
LATER_STEPS = 5  # a proposal of so many tokens tells a later step from the first one


@dataclass(frozen=True, slots=True)
class Range:
    """What a run of the scenario can ask for: the limits of rows, tokens and lengths."""

    rows: int
    context: int
    length: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Design:
    """``core`` is always measured; ``candidates`` where the fit turns out to be worst.

    ``stairs`` tell which buckets take longer than a larger one: a model's rows or tokens, at contexts too
    short to matter.
    """

    core: tuple[Probe, ...]
    candidates: tuple[Probe, ...]
    stairs: tuple[Probe, ...] = ()


def design(
    target: str,
    drafts: Mapping[str, int],
    limits: Range,
    packings: Sequence[str],
    *,
    graphs: Mapping[str, bool],
    prompt_graphs: bool = False,
    kv_tokens: Mapping[str, int] | None = None,
    quick: bool,
) -> Design:
    """Probes of every model. ``target`` and the keys of ``drafts`` are the profile's model keys.

    ``drafts`` maps to the draft that is executed; ``graphs`` says which models replay graphs,
    ``prompt_graphs`` whether they do so for prefill and catch-up too: then no probe has more tokens than one
    of their passes. ``kv_tokens`` is each model's K/V memory, in tokens, where it is not to be exceeded.
    """
    memory = kv_tokens or {}

    def level(count: int) -> list[Probe]:
        probes = _level(target, drafts, limits, packings, count, graphs, prompt_graphs)
        return unique([fitting(probe, memory.get(probe.model, sys.maxsize)) for probe in probes])

    core, fine = level(3 if quick else 4), level(5 if quick else 7)
    stairs = tuple(
        replace(probe, graphs=True) for probe in _stairs(target, drafts, limits, packings[0], graphs)
    )
    known = {probe.identity for probe in core}
    return Design(tuple(core), tuple(probe for probe in fine if probe.identity not in known), stairs)


def _level(
    target: str,
    drafts: Mapping[str, int],
    limits: Range,
    packings: Sequence[str],
    count: int,
    graphs: Mapping[str, bool],
    prompt_graphs: bool,
) -> list[Probe]:
    # Passes of more tokens are never executed where prompts are replayed from graphs.
    most = {model: PROMPT_TOKENS if graphs[model] and prompt_graphs else sys.maxsize for model in graphs}
    found = [*_prefill(target, limits, count, most[target])]
    for packing in packings:
        found += _verify(target, limits, packing, count)
    for model, draft in drafts.items():
        found += _draft_steps(model, draft, limits, count)
        found += _catch_up(model, draft, limits, count, most[model])
    return unique(
        [
            replace(probe, graphs=graphs[probe.model] and (prompt_graphs or probe.operation not in PROMPTS))
            for probe in found
        ]
    )


def fitting(probe: Probe, kv_tokens: int) -> Probe:
    """The probe, with contexts so short that the K/V of all its rows lie in ``kv_tokens`` at once.

    No run has more. Rows that shared blocks would be read faster than a run's, from the GPU's cache: 32 rows
    of 26,620 tokens over memory for 61,440 were read at 5.2 TB/s, where the GPU's memory gives 4.8.
    """
    new = probe.rows * max(probe.tokens, probe.steps)
    while sum(probe.contexts) + new > kv_tokens and probe.context > SHORTEST:
        scale = max(0.0, (kv_tokens - new) / sum(probe.contexts))
        probe = replace(probe, context=max(SHORTEST, min(probe.context - 1, int(probe.context * scale))))
    return probe


def levels(limit: int, count: int, low: int = 1) -> list[int]:
    """At most ``count`` integers from ``low`` to ``limit``, log-spaced, both ends included."""
    low = min(low, limit)
    return sorted({round(x) for x in np.geomspace(low, limit, count)})


def _rows(limit: int, count: int) -> list[int]:
    """Row counts that fill their bucket, and the limit itself."""
    return sorted({min(bucket_rows(rows), limit) for rows in levels(limit, count)})


def _prefill(model: str, limits: Range, count: int, most: int) -> Iterator[Probe]:
    chunk, whole = min(limits.chunk, most), limits.context - 1
    longest = min(chunk, whole)
    for tokens in levels(longest, count + 1, low=8):
        yield Probe("prefill", model, -1, 1, tokens, 0)
        # A chunk, or a pass, that goes on with a prompt is as large as one that begins it.
        if tokens < whole:
            yield Probe("prefill", model, -1, 1, tokens, whole - tokens)
        if tokens < whole // 4 > LONG_CONTEXT:  # one that begins late waits, one that begins early computes
            yield Probe("prefill", model, -1, 1, tokens, whole // 4)
    for tokens in _steps(longest, most):
        yield Probe("prefill", model, -1, 1, tokens, 0)
    # Two prompts that share a chunk, with all that was computed of them before.
    half = max(1, min(chunk // 2, whole))
    if limits.rows > 1:
        yield Probe("prefill", model, -1, 2, half, whole - half)
    for rows in levels(min(chunk, limits.rows), count):
        if rows > 1:
            tokens = max(1, min(chunk // rows, whole))
            yield Probe("prefill", model, -1, rows, tokens, 0)
            if rows == limits.rows:  # as much K/V as where one prompt goes on and others begin
                start = -(-(whole + chunk) // rows) - tokens
                yield Probe("prefill", model, -1, rows, tokens, min(start, whole - tokens))


def _steps(longest: int, most: int) -> list[int]:
    """New tokens that fill each bucket of a captured prefill or catch-up: its stairs are no law's."""
    if most > PROMPT_TOKENS:
        return []
    return sorted({min(tokens, longest) for tokens in prompt_token_buckets(longest)})


def _verify(model: str, limits: Range, packing: str, count: int) -> Iterator[Probe]:
    lengths = sorted({0, min(4, limits.length), limits.length} if count > 3 else {0, limits.length})
    longest = limits.context - limits.length
    contexts = levels(longest, max(2, count - 1), low=max(2, longest // 16))
    for rows, length, context in product(_rows(limits.rows, count), lengths, contexts):
        edge = context == longest
        for part in _pieces(context + length, count) if packing_kind(packing).divided else (0,):
            yield Probe("verify", model, -1, rows, length + 1, context, packing, part, even=edge)


def _pieces(tokens: int, count: int) -> list[int]:
    """A piece for the whole, for halves, and one that leaves nearly a whole piece empty: the extremes."""
    fractions = (1.0, 0.9) if count <= 3 else (1.0, 0.9, 0.5, 0.25)
    return sorted({max(16, -(-round(tokens * f) // 16) * 16) for f in fractions if tokens * f >= 16} or {16})


def _stairs(
    target: str, drafts: Mapping[str, int], limits: Range, packing: str, graphs: Mapping[str, bool]
) -> Iterator[Probe]:
    """Where graphs are replayed: verifications by tokens, and later draft steps by rows, of every bucket."""
    context = max(2, min(SHORT, limits.context - limits.length))
    piece = context + limits.length if packing_kind(packing).divided else 0  # one a row
    for tokens in token_buckets(limits.rows * (limits.length + 1) if graphs[target] else 0):
        for each in range(limits.length + 1, 0, -1):
            rows = min(tokens // each, limits.rows)
            if tokens >= FEW and bucket_tokens(rows * each) == tokens:
                yield Probe("verify", target, -1, rows, each, context, packing, piece)
                break
    steps = min(LATER_STEPS, limits.length)
    for model, draft in drafts.items():
        for rows in row_buckets(limits.rows if graphs[model] and steps > 1 else 0):
            if rows >= FEW:
                executed = min(rows, limits.rows)
                yield Probe("draft_step", model, draft, executed, 1, context, proposal=steps)


def _draft_steps(model: str, draft: int, limits: Range, count: int) -> Iterator[Probe]:
    steps = min(LATER_STEPS, limits.length)
    longest = limits.context - steps
    contexts = levels(longest, max(2, count - 1), low=max(2, longest // 16))
    for rows, context in product(_rows(limits.rows, count), contexts):
        edge = context == longest
        yield Probe("draft_step", model, draft, rows, 2, context, even=edge)
        if steps > 1:
            yield Probe("draft_step", model, draft, rows, 1, context, proposal=steps, even=edge)


def _catch_up(model: str, draft: int, limits: Range, count: int, most: int) -> Iterator[Probe]:
    whole = limits.context - 1
    for rows in _rows(min(limits.rows, most), max(2, count - 1)):
        longest = min(whole, most // rows)
        for tokens in levels(longest, count, low=2):
            yield Probe("catch_up", model, draft, rows, tokens, 0)
            # As for prefill; else so many after a start cost about what all of a context costs.
            if 2 * tokens < whole or tokens == longest < whole:
                yield Probe("catch_up", model, draft, rows, tokens, whole - tokens)
    for tokens in _steps(min(whole, most), most):
        yield Probe("catch_up", model, draft, 1, tokens, 0)
