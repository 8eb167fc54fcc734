"""A run's draft choices in hindsight: what each round would have brought with every other draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.field import AcceptanceField
from spinsim.costs.base import Predictor
from spinsim.drafters.acceptance import build_field
from spinsim.engine.records import COMPLETED, Records
from spinsim.engine.world import NS
from spinsim.errors import InputError
from spinsim.policies.beliefs import ragged
from spinsim.results.blocks import round_blocks
from spinsim.results.columns import NO_DRAFT_LABEL
from spinsim.scenario import Scenario, TraceAcceptance
from spinsim.serving import lay_out
from spinsim.workload.request import Workload

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = dict[str, Any]

SAMPLE = 400  # requests, evenly spaced by arrival
POINTS = 40  # of a curve by round
BINS = 24  # of a curve over the run
AGREEING = 0.95  # of the rounds of a live run with the recording that stands for them
OTHERS = ("best_fixed", "best_per_request", "random")  # beside the selector itself
_STEPS = 20  # of the fixed point below; it converges within three or four


@dataclass(frozen=True)
class Rows:
    """Rounds of the sampled requests, by (request, position). ``gain`` and ``cost`` are (rows, arms): tokens
    that the round would have committed with each arm, and the seconds that it would have taken."""

    request: Ints
    turn: NDArray[np.integer[Any]]  # earlier rounds of the same request
    committed_s: Floats
    chosen: Ints  # arm
    committed: Ints  # tokens, as it was
    gain: Floats
    cost: Floats


def hindsight(
    records: Records,
    outputs: Mapping[int, int],
    field: AcceptanceField,
    predictor: Predictor,
    *,
    remote: tuple[bool, ...],
    allow_none: bool,
    context_tokens: int | None = None,
) -> tuple[Numbers, Numbers]:
    """``regret`` of summary.json, and the curves of regret.json; docs/metrics.md defines both.

    ``outputs``: output tokens by request. At every position where a request was, each arm's gain is known
    from the field; its time is the predictor's, for the run's mean batch and context, with as many
    draft tokens as the chosen draft had, within ``context_tokens`` together. The oracle takes the arms with
    most tokens per second over all these rounds, a ratio of sums (fixed point after Dinkelbach 1967); a
    choice loses ``(rate * seconds - tokens) / rate`` more than the oracle's. Ours.
    """
    arms = [*records.drafts, NO_DRAFT_LABEL]
    rows = _rows(records, outputs, field, predictor, remote, allow_none, context_tokens)
    if not rows.chosen.size or not records.drafts:
        return {"known": False, "why": "no round was decided"}, {}
    lost = _lost(rows)
    line = np.arange(rows.chosen.size)
    usable = np.arange(len(arms)) < len(records.drafts) + allow_none
    best = int(np.argmin(np.where(usable, lost.sum(axis=0), np.inf)))
    mine = _best_per_request(rows, np.where(usable, lost, np.inf))
    series = {
        "selector": lost[line, rows.chosen],
        "best_fixed": lost[:, best],
        "best_per_request": lost[line, mine],
        "random": lost[:, usable].mean(axis=1),
    }
    requests = np.unique(rows.request)
    seconds = rows.cost[line, np.argmin(lost, axis=1)].sum()
    return {
        "known": True,
        "requests": int(requests.size),
        "requests_of": len(records.requests),
        "rounds": int(rows.chosen.size),
        "agreement": float(np.mean(rows.gain[line, rows.chosen] == rows.committed)),
        "best_fixed": arms[best],
        "lost_per_round_s": {name: float(values.mean()) for name, values in series.items()},
        "share_of_oracle": {
            name: float(seconds / (seconds + values.sum())) for name, values in series.items()
        },
    }, {
        "schema": "spinsim.regret/1",
        "by_round": _by_round(rows, series),
        "over_run": _over_run(rows, series, records.ended_ns / NS),
    }


def of_recording(
    scenario: Scenario,
    base_dir: Path,
    records: Records,
    workload: Workload,
    predictor: Predictor,
    field: AcceptanceField | None = None,
) -> tuple[Numbers, Numbers]:
    """:func:`hindsight` of a live run whose scenario names a recording of every draft's acceptance.

    ``field``: the acceptance that the run was given, if it was; it is known whatever it is.
    Where there is no such recording, it does not cover the workload, or fewer than ``AGREEING`` of the rounds
    committed what it says (other prompts, other rounding), ``known`` is false and ``why`` says so.
    """
    if field is None and not isinstance(scenario.acceptance, TraceAcceptance):
        return {"known": False, "why": "a live run sees the acceptance of the drafts that were chosen"}, {}
    try:
        field = field or build_field(scenario, workload, base_dir)
    except InputError as error:
        return {"known": False, "why": str(error)}, {}
    finished = {n: r.output_tokens for n, r in records.requests.items() if r.status == COMPLETED}
    summary, curves = hindsight(
        records,
        {request.id: request.output_tokens for request in workload.requests} | finished,
        field,
        predictor,
        remote=lay_out(scenario).remote,
        allow_none=scenario.policies.allow_none,
        context_tokens=scenario.limits.context_tokens,
    )
    if summary["known"] and summary["agreement"] < AGREEING:
        share = f"{100 * summary['agreement']:.0f} %"
        why = (
            f"the scenario's recording agrees with no more than {share} of the rounds, as it does for other "
            "prompts, in bf16, or when sampling"
        )
        return {"known": False, "why": why, "agreement": summary["agreement"]}, {}
    return summary, curves


def _rows(
    records: Records,
    outputs: Mapping[int, int],
    field: AcceptanceField,
    predictor: Predictor,
    remote: tuple[bool, ...],
    allow_none: bool,
    context_tokens: int | None = None,
) -> Rows:
    r = records.rounds
    taken = _sample(records)
    wanted = np.zeros(1 + max(records.requests, default=-1), dtype=np.bool_)
    wanted[taken] = True
    found = []
    for block in round_blocks(r):
        keep = np.flatnonzero(wanted[block.row(r.request)])
        columns = r.request, r.position, r.draft, r.drafted, r.committed
        at_ns = block.spread(block.header(r.committed_ns))[keep]
        found.append((*(block.row(column)[keep].astype(np.int64) for column in columns), at_ns))
    kept = (
        [np.concatenate(parts) for parts in zip(*found, strict=True)]
        if found
        else [np.empty(0, np.int64)] * 6
    )
    order = np.lexsort((kept[1], kept[0]))
    mine, position, draft, drafted, committed, at_ns = (column[order] for column in kept)
    at = at_ns / NS
    starts = np.flatnonzero(np.diff(mine, prepend=-1))
    counts = np.diff(np.append(starts, mine.size))
    turn = np.arange(mine.size) - np.repeat(starts, counts)
    typical = int(np.median(drafted[drafted > 0])) if (drafted > 0).any() else 1
    length = np.where(draft >= 0, drafted, typical)
    none = len(records.drafts)
    gain = np.ones((mine.size, none + 1))
    for begin, count in zip(starts, counts, strict=True):
        own = slice(int(begin), int(begin + count))
        number = int(mine[begin])
        left = outputs[number] - position[own]
        for arm in range(none):
            runs = np.asarray(field.runs(number, arm), dtype=np.int64)[position[own]]
            gain[own, arm] = np.minimum(left, 1 + np.minimum(length[own], runs))
        field.forget(number)
    batch = max(1, round(len(r.request) / len(r.size))) if len(r.size) else 1
    prompts = {number: record.prompt_tokens for number, record in records.requests.items()}
    context = round(float(np.mean([prompts[n] for n in mine.tolist()] + position))) if mine.size else 1
    cost = _costs(predictor, length, batch, context, remote, context_tokens)
    if not allow_none and (draft >= 0).all():
        gain[:, none], cost[:, none] = 0.0, np.inf
    return Rows(mine, turn, at, np.where(draft < 0, none, draft), committed, gain, cost)


def _sample(records: Records) -> Ints:
    """Numbers of at most ``SAMPLE`` requests, evenly spaced."""
    numbers = np.array(sorted(records.requests), dtype=np.int64)
    if numbers.size <= SAMPLE:
        return numbers
    return numbers[np.linspace(0, numbers.size - 1, SAMPLE).astype(np.int64)]


def _costs(
    predictor: Predictor,
    length: Ints,
    batch: int,
    mean: int,
    remote: tuple[bool, ...],
    context_tokens: int | None,
) -> Floats:
    """Seconds of a round with each arm, (rows, arms): everyone in the batch on that arm, none last."""
    drafts = len(remote)
    cost = np.empty((length.size, drafts + 1))
    for k in np.unique(length).tolist():
        rows = length == k
        context = mean if context_tokens is None else min(mean, context_tokens - k)
        for arm in range(drafts):
            seconds = predictor.verify(ragged(batch, batch * (context + k), batch * (k + 1))).seconds
            if k:
                seconds += predictor.propose(arm, [k] * batch, [context] * batch).seconds
            if k and remote[arm]:
                seconds += predictor.transfer(batch, batch * k).seconds
            cost[rows, arm] = seconds
    cost[:, drafts] = predictor.verify(ragged(batch, batch * mean, batch)).seconds
    return np.maximum(cost, 1e-9)  # a cost model may say zero


def _lost(rows: Rows) -> Floats:
    """By (row, arm), the seconds lost to the oracle; infinite: not to be had."""
    rate = float(rows.gain[:, 0].sum() / rows.cost[:, 0].sum())
    line = np.arange(rows.chosen.size)
    for _ in range(_STEPS):
        pick = np.argmin(rate * rows.cost - rows.gain, axis=1)
        better = float(rows.gain[line, pick].sum() / rows.cost[line, pick].sum())
        if better <= rate:
            break
        rate = better
    lost = rows.cost - rows.gain / rate
    lost -= lost.min(axis=1, keepdims=True)
    return lost


def _best_per_request(rows: Rows, lost: Floats) -> Ints:
    """For each row, the arm that serves all of its request's rounds with least loss."""
    starts = np.flatnonzero(np.diff(rows.request, prepend=-1))
    best = np.argmin(np.add.reduceat(lost, starts, axis=0), axis=1)
    return np.repeat(best, np.diff(np.append(starts, rows.request.size)))


def _by_round(rows: Rows, series: Mapping[str, Floats]) -> Numbers:
    """Seconds lost so far by a request's n-th round, mean over the requests that had one; as far as half
    of the requests go."""
    counts = np.bincount(rows.turn)
    rounds = int((2 * counts >= counts[0]).sum())
    shown = np.unique(np.linspace(1, rounds, min(POINTS, rounds)).astype(int))
    return {
        "rounds": shown.tolist(),
        **{
            name: np.cumsum(np.bincount(rows.turn, values)[:rounds] / counts[:rounds])[shown - 1].tolist()
            for name, values in series.items()
        },
    }


def _over_run(rows: Rows, series: Mapping[str, Floats], ended_s: float) -> Numbers:
    """Seconds lost by a round, mean over equal parts of the run; null where none was committed."""
    place = np.clip((rows.committed_s / max(ended_s, 1e-9) * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    means = {
        name: [
            float(total / count) if count else None
            for total, count in zip(np.bincount(place, values, BINS), counts, strict=True)
        ]
        for name, values in series.items()
    }
    return {"end_s": ended_s, **means}
