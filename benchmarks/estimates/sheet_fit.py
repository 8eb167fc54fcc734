"""The efficiencies of hardware sheets, fitted to everything measured, and judged on a kind of GPU left out.

A pass is priced by :class:`~spinsim.costs.operators.PassCosts`. Eight numbers of a sheet are shared by all
GPUs: shares of bandwidth and rate, the same of attention, what a row takes that one program reads, and what
launches and operations cost. They are
those that minimise

    sum over kinds k of share(k) * mean over groups of k of mean (log predicted - log measured)^2
    + RIDGE^2 * |log x - log LARGE|^2

``share`` is how much of the live runs' time operations of a kind take, so that what matters to a run's
length counts. A group has one source (profiles, live runs, cells at long contexts), GPU, operation and
packing. The last term holds what the data cannot tell at what large operators reach: H100s alone, say, saw
no prompt long enough to show what attention among its tokens costs.

The host's three numbers are the median hop, and a line over rows through the rest of live handovers with a
fixed draft.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from benchmarks.estimates.passes import Handover, Timed
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.laws import waited_for
from spinsim.costs.profiled.profile import PROMPTS, Profile
from spinsim.costs.sheets.hardware import hardware_of

LARGE = {  # what large operators reach, one by one
    "bandwidth_efficiency": 0.9,
    "compute_efficiency": 0.8,
    "kv_efficiency": 0.9,
    "prompt_attention_efficiency": 0.8,
    "row_token_s": 25e-9,
    "graph_kernel_s": 2e-6,
    "graph_launch_s": 10e-6,
    "operation_s": 50e-6,
}
RIDGE = 0.01  # a number twice what it is held at counts as a common error of 0.7 %
KIND_OF = {"draft_step": "propose"}  # of a profile's operation, where the engine calls it otherwise
Floats = NDArray[np.float64]
Efficiencies = dict[str, float]


@dataclass(frozen=True)
class Errors:
    """Of logarithms: ``mean`` (negative: predicted too fast) and root mean square, over ``count`` times."""

    count: int
    mean: float
    rms: float


def predicted(times: Sequence[Timed], efficiencies: Mapping[str, float]) -> Floats:
    """Seconds of each by sheets with these efficiencies."""
    known: dict[tuple[str, str, str], PassCosts] = {}
    found = []
    for timed in times:
        key = timed.model.name, timed.dtype, timed.hardware
        if key not in known:
            sheet = replace(hardware_of(timed.hardware), **efficiencies)
            known[key] = PassCosts(timed.model, timed.dtype, sheet)
        found.append(_seconds(known[key], timed))
    return np.array(found)


def _seconds(costs: PassCosts, timed: Timed) -> float:
    prompts, divided = timed.operation in PROMPTS, timed.part == "decomposed"
    law = costs.prompt_attention if prompts else costs.attention
    seconds = costs.operation_s * timed.operations
    for one in timed.passes:
        seconds += costs.overhead_s + costs.body(int(one.tokens)) + costs.output(int(one.head))
        waited = waited_for(one, "prompts" if prompts else "pieces") if prompts or divided else 0.0
        seconds += max(law.seconds(one.kv_tokens, one.queries, one.pairs), costs.row_s * waited)
        if divided and one.queries > one.tokens:
            seconds += costs.merge_s(int(one.queries))
    return seconds


def log_errors(times: Sequence[Timed], efficiencies: Mapping[str, float]) -> Floats:
    """Log predicted - log measured of each."""
    return np.log(predicted(times, efficiencies)) - np.log([timed.seconds for timed in times])


def kind_of(timed: Timed) -> str:
    """The engine's name of the operation."""
    return KIND_OF.get(timed.operation, timed.operation)


def shares(times: Sequence[Timed]) -> dict[str, float]:
    """How the live runs' time falls to kinds of operations."""
    total: Counter[str] = Counter()
    for timed in times:
        if timed.source == "live":
            total[kind_of(timed)] += timed.seconds * timed.weight
    return {kind: seconds / total.total() for kind, seconds in total.items()}


def fit(times: Sequence[Timed]) -> Efficiencies:
    """The eight numbers. Raises ValueError where nothing was measured live."""
    if not any(timed.source == "live" for timed in times):
        raise ValueError("no live operations: their shares of a run's time are not known")
    share = shares(times)
    sizes = Counter(timed.group for timed in times)
    kinds = Counter(KIND_OF.get(group[2], group[2]) for group in sizes)
    weights = np.sqrt([share[kind_of(t)] / kinds[kind_of(t)] / sizes[t.group] for t in times])
    large = np.log(list(LARGE.values()))

    def residuals(x: Floats) -> Floats:
        said = dict(zip(LARGE, np.exp(x).tolist(), strict=True))
        return np.concatenate([weights * log_errors(times, said), RIDGE * (x - large)])

    found = least_squares(residuals, large, max_nfev=40)
    return {name: _rounded(value) for name, value in zip(LARGE, np.exp(found.x).tolist(), strict=True)}


def fit_host(profiles: Sequence[Profile], waits: Sequence[Handover]) -> Efficiencies:
    """``hop_s``, ``handle_s`` and ``handle_row_s``: least squares of relative errors, neither negative.

    A handover is a hop and the handling of what led to it.
    """
    hop = float(np.median([point.seconds for profile in profiles for point in profile.of("hop")]))
    seconds = np.array([wait.seconds for wait in waits])
    weight = np.sqrt([wait.count for wait in waits]) / seconds
    matrix = np.array([[1.0, float(wait.rows)] for wait in waits])
    (fixed, each), _ = nnls(matrix * weight[:, None], (seconds - hop) * weight)
    named = {"hop_s": hop, "handle_s": float(fixed), "handle_row_s": float(each)}
    return {name: _rounded(value) for name, value in named.items()}


def errors_by(times: Sequence[Timed], efficiencies: Mapping[str, float]) -> dict[str, Errors]:
    """By kind of operation, over times of live runs and cells at long contexts."""
    live = [timed for timed in times if timed.source != "profile"]
    logs = log_errors(live, efficiencies)
    kinds = np.array([kind_of(timed) for timed in live])
    return {
        kind: Errors(len(found), float(found.mean()), float(np.sqrt(np.square(found).mean())))
        for kind in dict.fromkeys(kinds.tolist())
        for found in [logs[kinds == kind]]
    }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
