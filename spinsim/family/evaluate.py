"""How useful the family's drafts are: tokens per round by domain, and which draft is best for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from spinsim.family import family
from spinsim.family.domains import DOMAINS
from spinsim.family.draw import Draw
from spinsim.family.prompts import Prompt, prompts
from spinsim.recording import Trace

# Seconds of one draft step of the shapes that the drafts stand for, at batch 32 on an H200, and of
# one verification by the 8B shape. Round figures for choosing the family; profiles have measured ones.
STEP_S: Mapping[str, float] = MappingProxyType(
    {"llama-68m": 0.15e-3, "llama-265m": 0.6e-3, "llama-1.1b": 0.9e-3}
)
VERIFY_S = 8e-3


def walk(runs: Sequence[int] | NDArray[np.int64], output_tokens: int, length: int) -> int:
    """Rounds of fixed ``length`` that commit output tokens 1 .. output_tokens - 1 (prefill gave token 0)."""
    position, rounds = 1, 0
    while position < output_tokens:
        position += min(int(runs[position]), length) + 1
        rounds += 1
    return rounds


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``tokens_per_round[domain][draft]``, over all the domain's requests; ``best[draft]``: share of
    requests for which it has the highest goodput, ties split evenly."""

    tokens_per_round: dict[str, dict[str, float]]
    best: dict[str, float]
    best_by_domain: dict[str, dict[str, float]]
    requests: int


def judge(
    runs: Mapping[str, Sequence[NDArray[np.int64]]],
    domains: Sequence[str],
    output_tokens: Sequence[int],
    *,
    length: int,
    step_s: Mapping[str, float],
    verify_s: float,
) -> Evaluation:
    """From recorded runs (per draft and request) at given costs of a draft step and a verification."""
    names = list(runs)
    rounds = np.array(
        [
            [walk(row, tokens, length) for row, tokens in zip(runs[name], output_tokens, strict=True)]
            for name in names
        ],
        dtype=np.float64,
    )
    committed = np.array(output_tokens, dtype=np.float64) - 1
    seconds = rounds * np.array([[length * step_s[name] + verify_s] for name in names])
    goodput = committed / seconds
    wins = np.isclose(goodput, goodput.max(axis=0), rtol=1e-9)
    wins = wins / wins.sum(axis=0)
    where = {domain: [d == domain for d in domains] for domain in dict.fromkeys(domains)}
    return Evaluation(
        tokens_per_round={
            domain: {n: float(committed[at].sum() / rounds[i][at].sum()) for i, n in enumerate(names)}
            for domain, at in where.items()
        },
        best={name: float(wins[i].mean()) for i, name in enumerate(names)},
        best_by_domain={
            domain: {name: float(wins[i][at].mean()) for i, name in enumerate(names)}
            for domain, at in where.items()
        },
        requests=len(domains),
    )


def held_out_prompts(requests_per_domain: int, seed: int = 0) -> list[Prompt]:
    """Prompts of 48 to 256 tokens, as many for every domain."""
    draw = Draw(f"evaluate:{seed}")
    return [
        prompt
        for number, domain in enumerate(DOMAINS)
        for prompt in prompts(
            seed * len(DOMAINS) + number,
            [draw.between(48, 256) for _ in range(requests_per_domain)],
            [domain],
        )
    ]


def judge_trace(
    trace: Trace,
    *,
    length: int = 4,
    step_s: Mapping[str, float] | None = None,
    verify_s: float = VERIFY_S,
) -> Evaluation:
    """A greedy trace of the family. Without ``step_s``: ``STEP_S`` of the shapes that drafts stand for."""
    output_tokens = [int(n) - 1 for n in trace.output_tokens()]
    return judge(
        {
            name: [recording.rows.row(i).astype(np.int64) for i in range(len(trace.keys))]
            for name, recording in trace.drafts.items()
        },
        trace.domains,
        output_tokens,
        length=length,
        step_s=step_s or {draft.name: STEP_S[draft.stands_for] for draft in family.DRAFTS},
        verify_s=verify_s,
    )
