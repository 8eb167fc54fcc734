"""From a scenario to its requests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinsim.errors import InputError
from spinsim.scenario import ClosedLoop, LogisticAcceptance, Replay, Scenario, WorkloadSpec
from spinsim.workload.arrivals import arrival_times
from spinsim.workload.formats.row import Row
from spinsim.workload.lengths import draw_labels, draw_tokens, draw_values
from spinsim.workload.mid_flight import meet
from spinsim.workload.request import PREFIX_BLOCK, MalformedRow, Request, Workload
from spinsim.workload.source import load_rows, repeated
from spinsim.workload.streams import stream


def build_workload(scenario: Scenario, base_dir: Path) -> Workload:
    """The scenario's requests, in order of arrival; the same for the same seed.

    Without a source, ``requests``, ``prompt_tokens`` and ``output_tokens`` say everything. With one,
    its rows are the requests: distributions replace its lengths (a prompt whose length is replaced
    loses its text and token ids), and ``requests`` is how many there are: rows are repeated in order where it
    exceeds them, but a replay, which cannot repeat time, takes it as a cap. With ``resample`` rows are
    drawn with replacement, and arrive when the rows in their places would have: a bootstrap over requests
    (Efron 1979), so that runs with several seeds tell of other requests than the recorded ones. Requests that
    have no domain of their own draw one by the weights of ``acceptance.domains``.

    With ``mid_flight`` requests are those that a steady state holds (:func:`meet`). What
    they have said is part of their prompts, whose text and token ids are lost, and ``mid_flight`` is how much
    is still to come. So a short live cell has the contexts of a long run.

    Each purpose (arrivals, prompt lengths, output lengths, patience, domains) has its own random
    stream, and a longer workload begins with the shorter one's requests.

    Raises:
        InputError: what is missing or impossible, with its key, or with the place in the source.
    """
    spec = scenario.workload
    if spec.source is None:
        if spec.requests is None:
            raise _missing("requests", "a number of requests")
        rows, recorded, read = None, None, 0
        malformed: list[MalformedRow] = []
        count = spec.requests
    else:
        rows, malformed, timed, read = load_rows(spec.source, base_dir)
        if spec.requests is not None:
            replay = isinstance(spec.arrivals, Replay)
            kept = rows[: spec.requests] if replay else repeated(rows, spec.requests)
        else:
            kept = rows
        count = len(kept)
        recorded = np.array([row.arrival_s for row in kept], np.float64) if timed else None
        rows = _resampled(rows, count, scenario.seed) if spec.source.resample else kept
    return Workload(
        requests=_requests(
            scenario, rows, count, arrival_times(spec.arrivals, count, scenario.seed, recorded)
        ),
        concurrency=spec.arrivals.concurrency if isinstance(spec.arrivals, ClosedLoop) else None,
        malformed=tuple(malformed),
        rows_read=read,
    )


def _resampled(rows: list[Row], count: int, seed: int) -> list[Row]:
    return [rows[i] for i in stream(seed, "resample").integers(len(rows), size=count).tolist()]


def _requests(
    scenario: Scenario, rows: list[Row] | None, count: int, arrivals: NDArray[np.float64]
) -> tuple[Request, ...]:
    spec, seed = scenario.workload, scenario.seed
    prompts = _prompt_tokens(spec, rows, count, seed)
    outputs = _output_tokens(spec, rows, count, seed)
    met = None if spec.mid_flight is None else meet(outputs, seed)
    if met is not None:
        prompts = [prompts[one.request] + one.said for one in met]
        outputs = _still_to_come(spec, count, seed)
        rows = None if rows is None else [rows[one.request] for one in met]
    patience: Iterable[float] = [math.inf] * count
    if spec.patience_s is not None:
        patience = draw_values(
            spec.patience_s, count, stream(seed, "patience"), "workload.patience_s"
        ).tolist()
    domains = _domains(scenario, count)
    timing = zip(range(count), arrivals.tolist(), prompts, outputs, patience, domains, strict=True)
    if rows is None:
        return tuple(Request(*fields) for fields in timing)
    keep = spec.prompt_tokens is None and met is None
    return tuple(
        Request(
            i,
            at,
            p,
            o,
            wait,
            row.domain or domain,
            row.key,
            row.prompt if keep else None,
            row.text if keep else None,
            row.blocks[: -(-p // PREFIX_BLOCK)] if keep else (),
        )
        for (i, at, p, o, wait, domain), row in zip(timing, rows, strict=True)
    )


def _prompt_tokens(spec: WorkloadSpec, rows: list[Row] | None, count: int, seed: int) -> list[int]:
    if spec.prompt_tokens is not None:
        return draw_tokens(spec.prompt_tokens, count, stream(seed, "prompt tokens"), "workload.prompt_tokens")
    if rows is None:
        raise _missing("prompt_tokens", "a distribution")
    return [row.prompt_tokens for row in rows]


def _output_tokens(spec: WorkloadSpec, rows: list[Row] | None, count: int, seed: int) -> list[int]:
    if spec.output_tokens is not None:
        return draw_tokens(spec.output_tokens, count, stream(seed, "output tokens"), "workload.output_tokens")
    if rows is None:
        raise _missing("output_tokens", "a distribution")
    known = [row.output_tokens for row in rows if row.output_tokens is not None]
    if len(known) < count:
        raise InputError(
            f"{count - len(known)} of {count} requests have no answer in the source to measure; "
            "a distribution",
            key="workload.output_tokens",
        )
    return known


def _still_to_come(spec: WorkloadSpec, count: int, seed: int) -> list[int]:
    assert spec.mid_flight is not None
    return draw_tokens(spec.mid_flight, count, stream(seed, "still to come"), "workload.mid_flight")


def _domains(scenario: Scenario, count: int) -> list[str]:
    acceptance = scenario.acceptance
    if not isinstance(acceptance, LogisticAcceptance) or not acceptance.domains:
        return [""] * count
    weights = {name: domain.weight for name, domain in acceptance.domains.items()}
    return draw_labels(weights, count, stream(scenario.seed, "domains"), "acceptance.domains")


def _missing(name: str, allowed: str) -> InputError:
    return InputError(f"missing, and there is no source to take it from; {allowed}", key=f"workload.{name}")
