"""Builds the acceptance field of a scenario and its workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.cached import BLOCK, CachedField, Offers
from spinsim.acceptance.counter import counters, item_key, normals, purpose_key
from spinsim.acceptance.entropies import Entropies, Runs
from spinsim.acceptance.known_text import NO_READERS, Reads, Texts, offered_by_other, read_texts
from spinsim.acceptance.lookups import RecordedLookups, Replays
from spinsim.acceptance.other_text import OtherText, other_text, other_texts
from spinsim.acceptance.replay import join, recorded_runs
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.acceptance.synthetic import constant_runs, logistic_block, logistic_runs
from spinsim.errors import InputError
from spinsim.recording import ENTROPY_STEPS, Recording, Trace, load_trace
from spinsim.scenario import (
    GREEDY_BELOW,
    ConstantAcceptance,
    LogisticAcceptance,
    Scenario,
    TraceAcceptance,
)
from spinsim.workload.request import Workload
from spinsim.workload.source import resolve


def build_field(
    scenario: Scenario,
    workload: Workload,
    base_dir: Path,
    *,
    noise_seed: int | None = None,
    readers: Mapping[str, Reads] = NO_READERS,
) -> CachedField:
    """The fixed field of the scenario's drafts (in its order) over the workload's requests.

    Depends on (seed, request, draft, position) alone: drafts are independent of each other, and a
    draft keeps its field when others are added behind it. Outputs longer than ``limits.context_tokens``,
    which no engine admits, are covered up to that.

    ``noise_seed`` draws the other text of ``noise.other_text`` over recorded acceptance (modelled one is
    another text's with every seed). None: none is drawn, whatever the scenario says, as for what a live run
    is held against.

    ``readers``: drafts that propose out of token ids, by name. Over a recording they are replayed exactly,
    unless ``acceptance.drafts`` says what was recorded of them.

    Raises:
        InputError: a draft without acceptance or acceptance without a draft, an unknown domain, a
            recording that cannot be read or does not cover the workload.
    """
    spec = scenario.acceptance
    drafts = tuple(scenario.models.drafts)
    positions = positions_of(scenario, workload)
    if isinstance(spec, ConstantAcceptance):
        given = spec.probability
        if isinstance(given, dict):
            _check_names(given, drafts, "acceptance.probability")
            probabilities = [given[draft] for draft in drafts]
        else:
            probabilities = [given] * len(drafts)
        draw = constant_runs(probabilities, positions, scenario.seed)
        return CachedField("synthetic", draw, entropies=_entropies(drafts, positions, scenario.seed))
    if isinstance(spec, LogisticAcceptance):
        return _logistic(spec, drafts, workload, positions, scenario.seed)
    return _recorded(spec, scenario, workload, positions, base_dir, noise_seed, readers)


def positions_of(scenario: Scenario, workload: Workload) -> list[int]:
    """How many output positions of each request a field covers."""
    beyond = 1 + scenario.limits.max_length  # runs at the last position reach past the output
    context = scenario.limits.context_tokens  # longer outputs are rejected: no one asks for their runs
    return [min(request.output_tokens, context) + beyond for request in workload.requests]


def _logistic(
    spec: LogisticAcceptance, drafts: tuple[str, ...], workload: Workload, positions: list[int], seed: int
) -> CachedField:
    _check_names(spec.strength, drafts, "acceptance.strength")
    for name, domain in spec.domains.items():
        _check_known(domain.affinity, drafts, f"acceptance.domains.{name}.affinity")
    requests = workload.requests
    strength = np.array([spec.strength[draft] for draft in drafts], np.float64)
    key = purpose_key(seed, "difficulty")
    difficulties = np.full(len(requests), spec.difficulty_mean)
    if spec.difficulty_sd:
        difficulties += spec.difficulty_sd * normals(item_key(key, 0), counters(2, len(requests)))
    strengths = strength[None, :]
    if spec.domains:
        names = {name: i for i, name in enumerate(spec.domains)}
        for request in requests:
            if request.domain not in names:
                raise InputError(
                    f"request {request.id} has domain {request.domain!r}; one of {', '.join(names)}, "
                    "or leave acceptance.domains out",
                    key="acceptance.domains",
                )
        index = np.array([names[request.domain] for request in requests], np.int64)
        affinity = [[domain.affinity.get(draft, 0.0) for draft in drafts] for domain in spec.domains.values()]
        strengths = strength + np.array(affinity, np.float64).reshape(len(names), len(drafts))[index]
        difficulties += np.array([domain.difficulty for domain in spec.domains.values()])[index]
    draw = logistic_runs(strengths, difficulties, spec.drift_sd, spec.drift_tokens, positions, seed)
    block = None if spec.drift_sd else logistic_block(strengths, difficulties, positions, seed, BLOCK)
    return CachedField("synthetic", draw, draw_block=block, entropies=_entropies(drafts, positions, seed))


def _entropies(drafts: Sequence[str], positions: Sequence[int], seed: int) -> Callable[[Runs], Entropies]:
    """Modelled ones, of a field that is still to be made."""
    return lambda field: Entropies(field, len(drafts), positions, seed)


def recorded_outputs(scenario: Scenario, workload: Workload, base_dir: Path) -> dict[int, list[int]]:
    """The output tokens of each request, where the acceptance is a recording that keeps them."""
    spec = scenario.acceptance
    if not isinstance(spec, TraceAcceptance):
        return {}
    trace = _load(spec, base_dir)
    outputs = trace.outputs
    if outputs is None:
        return {}
    rows = join(trace.keys, [], workload.requests).rows
    return {
        request.id: outputs.row(row).tolist() for request, row in zip(workload.requests, rows, strict=True)
    }


def _load(spec: TraceAcceptance, base_dir: Path) -> Trace:
    path = resolve(spec.path, base_dir, "acceptance.path")
    return load_trace(path) if spec.format == "spinsim" else load_specdecode_bench(path)


def _recorded(
    spec: TraceAcceptance,
    scenario: Scenario,
    workload: Workload,
    positions: list[int],
    base_dir: Path,
    noise_seed: int | None,
    readers: Mapping[str, Reads],
) -> CachedField:
    trace = _load(spec, base_dir)
    drafts = tuple(scenario.models.drafts)
    _check_known(spec.drafts, drafts, "acceptance.drafts")
    reading = {draft: readers[draft] for draft in drafts if draft in readers and draft not in spec.drafts}
    recordings = {draft: _recording(trace, draft, spec) for draft in drafts if draft not in reading}
    _check_sampling(trace, scenario)
    lengths = [recording.rows.lengths() for recording in recordings.values()]
    lengths += _lengths_of_texts(trace, reading)
    joined = join(trace.keys, lengths, workload.requests)
    rate = scenario.noise.other_text or 0.0
    departs = noise_seed is not None and bool(rate) and bool(lengths)
    enough = positions
    if departs:  # blocks come from all that is recorded of a request, however much of it is asked for
        recorded = np.min(lengths, axis=0)[joined.rows].tolist()
        enough = [max(pair) for pair in zip(recorded, positions, strict=True)]
    draw = recorded_runs(list(recordings.values()), joined.rows, enough, scenario.seed)
    offers: Offers | None = None
    replays: Replays | None = None
    if reading:
        texts = Texts(trace, joined.rows, workload.requests)
        draw, offers, replays = read_texts(draw, drafts, reading, texts, enough)
    departing = other_texts(recorded, positions, rate, noise_seed or 0) if departs else None
    sure = _recorded_entropies(spec, drafts, recordings, joined.rows, positions, scenario.seed, departing)
    if departs:  # what is looked up in another text is not known beforehand
        assert noise_seed is not None
        assert departing is not None
        draw = other_text(draw, recorded, positions, rate, noise_seed)
        if offers is not None:
            offers = offered_by_other(offers, departing)
        return CachedField("trace", draw, joined.said, offers=offers, entropies=sure)
    found = None
    if replays is not None or any(recording.lookup is not None for recording in recordings.values()):
        found = RecordedLookups([recordings.get(draft) for draft in drafts], joined.rows, replays)
    return CachedField("trace", draw, joined.said, found, offers, sure)


def _recorded_entropies(
    spec: TraceAcceptance,
    drafts: Sequence[str],
    recordings: Mapping[str, Recording],
    rows: Sequence[int],
    positions: Sequence[int],
    seed: int,
    departing: Callable[[int], OtherText | None] | None,
) -> Callable[[Runs], Entropies] | None:
    """Of models as they were recorded, or modelled ones where the scenario says so; None where neither is.

    Drafts that look their proposals up have none, and need none.
    """
    if spec.entropies == "modelled":
        return _entropies(drafts, positions, seed)
    known = [recordings[draft].entropies if draft in recordings else None for draft in drafts]
    models = [draft for draft, each in recordings.items() if each.lookup is None]
    if any(recordings[draft].entropies is None for draft in models):
        return None

    def recorded(request: int, draft: int) -> NDArray[np.float64] | None:
        sure = known[draft]
        if sure is None:
            return None
        nats = sure.row(rows[request]) / ENTROPY_STEPS
        other = None if departing is None else departing(request)
        return nats if other is None else np.concatenate((nats[: other.departure], nats[other.source]))

    return lambda field: Entropies(field, len(drafts), positions, seed, recorded)


def _recording(trace: Trace, draft: str, spec: TraceAcceptance) -> Recording:
    name = spec.drafts.get(draft, draft)
    if name not in trace.drafts:
        raise InputError(
            f"{name!r} is not in the recording; one of {', '.join(trace.drafts)}",
            key=f"acceptance.drafts.{draft}",
        )
    return trace.drafts[name]


def _lengths_of_texts(trace: Trace, reading: Iterable[str]) -> list[NDArray[np.int64]]:
    """How long recorded outputs are, where somebody reads them. Raises InputError where they are not kept."""
    for draft in reading:
        if trace.prompts is None or trace.outputs is None:
            raise InputError(
                f"keeps no token ids of outputs, out of which draft {draft!r} proposes; a recording made "
                f"anew by `spinsim trace`, or acceptance.drafts.{draft}: what was recorded of it",
                key="acceptance.path",
            )
        return [trace.outputs.lengths()]
    return []


def _check_sampling(trace: Trace, scenario: Scenario) -> None:
    """A recording holds for the sampling it was made with."""
    asked, made = scenario.sampling, trace.temperature
    alike = asked.temperature == made or (asked.greedy and (made or 0.0) < GREEDY_BELOW)
    if made is not None and not alike:
        raise InputError(
            f"{asked.temperature:g}, but acceptance was recorded at {made:g}; the same",
            key="sampling.temperature",
        )
    if made and trace.top_p is not None and asked.top_p != trace.top_p:
        raise InputError(
            f"{asked.top_p:g}, but acceptance was recorded at {trace.top_p:g}; the same", key="sampling.top_p"
        )


def _check_names(given: Iterable[str], drafts: tuple[str, ...], key: str) -> None:
    """Every draft is there, and nothing else."""
    names = set(given)
    for draft in drafts:
        if draft not in names:
            raise InputError(f"draft {draft!r} is missing; an entry for each of {', '.join(drafts)}", key=key)
    _check_known(given, drafts, key)


def _check_known(given: Iterable[str], drafts: tuple[str, ...], key: str) -> None:
    for name in given:
        if name not in drafts:
            raise InputError(
                f"no draft of this name; one of {', '.join(drafts) or 'none'}", key=f"{key}.{name}"
            )
