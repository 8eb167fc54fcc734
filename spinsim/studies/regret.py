"""How fast selectors learn: seconds behind the oracle, round by round, one request at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.results.columns import row_headers, view
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import override
from spinsim.simulated.simulation import simulate_scenario

Floats = NDArray[np.float64]
# Alone, a request's rounds are its own: no lane is shared, and the oracle is the shortest path.
ALONE = ("workload.arrivals={process: closed, concurrency: 1}", "policies.pipeline={name: serial}")
ORACLE = {"name": "oracle"}


@dataclass(frozen=True, slots=True)
class Regret:
    """``seconds[r]``: behind the oracle after r + 1 rounds, mean over requests."""

    name: str
    seconds: tuple[float, ...]
    final: float  # seconds behind at the end of an output, mean over requests


def regrets(
    scenario: Path,
    selectors: Mapping[str, Mapping[str, Any]],
    *,
    overrides: Sequence[str] = (),
    candidates: Sequence[str] = (),
) -> list[Regret]:
    """Selectors on the same requests: {name: {"name": ..., parameters}}.

    A request that has committed n tokens in t seconds since its first is t - t*(n) behind, t*(n) being
    when the oracle had n (linear between its commits). ``candidates`` are drafts: the one that is
    fastest for everybody with another seed, so on other requests, joins as "best fixed draft". Curves end
    where fewer than four in five requests are still decoding.
    """
    seed = load(scenario, overrides).scenario.seed

    def simulated(choice: Mapping[str, Any], seed: int) -> Records:
        given = [*overrides, *ALONE, override("policies.selector", dict(choice)), f"seed={seed}"]
        loaded = load(scenario, given)
        return simulate_scenario(loaded.scenario, loaded.base_dir).records

    everyone = dict(selectors)
    if candidates:
        fixed = {draft: {"name": "fixed", "draft": draft} for draft in candidates}
        elsewhere = {draft: simulated(choice, seed + 1).ended_ns for draft, choice in fixed.items()}
        best = min(elsewhere, key=elsewhere.__getitem__)
        everyone[f"best fixed draft ({best})"] = fixed[best]
    oracle = progress(simulated(ORACLE, seed))
    return [_regret(name, progress(simulated(choice, seed)), oracle) for name, choice in everyone.items()]


def progress(records: Records) -> dict[int, tuple[Floats, Floats]]:
    """By request: tokens committed, and seconds since the first token, after each round; from (1, 0) on."""
    request = view(records.rounds.request)
    at = view(records.rounds.committed_ns)[row_headers(records)]
    committed = view(records.rounds.committed)
    found = {}
    for number, record in records.requests.items():
        rows = np.flatnonzero(request == number)
        tokens = np.concatenate(([1.0], 1.0 + np.cumsum(committed[rows])))
        seconds = np.concatenate(([0.0], (at[rows] - record.first_token_ns) / NS))
        found[number] = (tokens, seconds)
    return found


def _regret(
    name: str, own: Mapping[int, tuple[Floats, Floats]], oracle: Mapping[int, tuple[Floats, Floats]]
) -> Regret:
    behind = [
        seconds[1:] - np.interp(tokens[1:], *oracle[request]) for request, (tokens, seconds) in own.items()
    ]
    lengths = np.array([curve.size for curve in behind])
    rounds = int(np.quantile(lengths, 0.2)) if lengths.size else 0
    curve = [float(np.mean([c[r] for c in behind if c.size > r])) for r in range(rounds)]
    return Regret(name, tuple(curve), float(np.mean([c[-1] for c in behind if c.size])))
