"""``spinsim trace``: the acceptance that a scenario's own models would have, recorded over its own prompts.

The target generates every output once, and each draft reads it once (teacher-forced), through the runners
of the live world. That gives, for every output position, what any policy would have seen there.

The trace is a workload too: ``workload.source: {format: spinsim, path: ...}`` gives both worlds its prompts,
lengths and keys, so that they serve the same requests. A scenario whose prompts are procedural may also
keep its workload: its requests are then joined by their number.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spinsim.acceptance.known_text import Texts
from spinsim.drafters.for_scenario import drafters_of
from spinsim.drafters.replay import reader
from spinsim.errors import InputError
from spinsim.family.record import to_trace
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.prompts import Prompted, materialise
from spinsim.progress import Progress
from spinsim.recording import Recording, Trace, save_trace
from spinsim.results.environment import command_line, environment
from spinsim.runner.head import LoadedHead
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.studies.recorder import Recorder, require_recordable
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Request


@dataclass(frozen=True)
class Traced:
    """What was recorded, and where. ``skipped``: requests that no run of the scenario would admit."""

    trace: Trace
    path: Path
    skipped: int


def trace(
    loaded: LoadedScenario, out: Path | None, *, force: bool = False, progress: Progress | None = None
) -> Traced:
    """Deploy the models, record the scenario's workload, save the trace.

    Raises InputError where ``out`` exists and ``force`` is not given, or nothing can be recorded.
    """
    scenario = loaded.scenario
    path = out or Path("traces") / f"{scenario.name}.npz"
    if path.exists() and not force:
        raise InputError("exists already; --force replaces it, --out names another file", file=str(path))
    require_recordable(scenario)
    with deploy(scenario, loaded.base_dir, progress) as deployment:
        workload = build_workload(scenario, loaded.base_dir)
        prompted = materialise(scenario, workload, deployment.models.target)
        recorded, skipped = record_workload(scenario, deployment, prompted, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trace(recorded, path)
    return Traced(recorded, path, skipped)


def record_workload(
    scenario: Scenario, deployment: Deployment, prompted: Prompted, progress: Progress | None = None
) -> tuple[Trace, int]:
    """The trace of a workload's requests, and how many it left out because they exceed the context.

    Requests of one key are recorded once, at their longest output. Those without a key are named by
    their number. An output that may stop ends with its first end-of-text token.
    """
    limit = scenario.limits.context_tokens
    chosen: dict[str, Request] = {}
    skipped = 0
    for request in prompted.workload.requests:
        if request.prompt_tokens + request.output_tokens > limit:
            skipped += 1
            continue
        key = request.key or f"{scenario.name}/{request.id}"
        if key not in chosen or chosen[key].output_tokens < request.output_tokens:
            chosen[key] = request
    if not chosen:
        raise InputError(
            f"every request exceeds limits.context_tokens ({limit}); at least one that fits",
            key="limits.context_tokens",
        )
    return record_requests(scenario, deployment, prompted, chosen, progress), skipped


def record_requests(
    scenario: Scenario,
    deployment: Deployment,
    prompted: Prompted,
    chosen: Mapping[str, Request],
    progress: Progress | None = None,
) -> Trace:
    """The trace of ``chosen`` requests of ``prompted``, by the keys that it is to have."""
    require_recordable(scenario)
    if not scenario.models.drafts:
        raise InputError("no draft to record acceptance of; at least one", key="models.drafts")
    for name, draft in deployment.models.drafts.items():
        if isinstance(draft, LoadedHead):
            raise InputError(
                "a head has random weights, of which there is nothing to record; leave it out",
                key=f"models.drafts.{name}",
            )
    picked = list(chosen.values())
    prompts = [list(prompted.prompts[request.id]) for request in picked]
    recorder = Recorder(deployment, progress)
    recorded = recorder.record(
        prompts, [request.output_tokens for request in picked], [request.id for request in picked]
    )
    outputs = []
    for request, output in zip(picked, recorded.outputs, strict=True):
        count = request.output_tokens
        if request.id in prompted.stops:
            ends = np.flatnonzero(np.isin(output[:count], list(prompted.end_of_text)))
            count = int(ends[0]) + 1 if len(ends) else count
        outputs.append(count)
    sampling = deployment.sampling
    made = to_trace(
        recorded,
        target=deployment.models.notes["target"],
        keys=list(chosen),
        domains=[request.domain for request in picked],
        prompts=prompts,
        # A round starts at a position before the last: so many positions are all that is asked for.
        output_tokens=[count - 1 for count in outputs],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        command=" ".join(command_line(sys.argv)),
        notes=_notes(scenario, deployment),
        keep_outputs=True,  # a live run that is given this acceptance feeds them
    )
    return _with_lookups(scenario, made, picked, outputs)


def _with_lookups(
    scenario: Scenario, trace: Trace, requests: Sequence[Request], outputs: Sequence[int]
) -> Trace:
    """The trace with what drafts that propose out of token ids have at each position, drafts in order."""
    texts = Texts(trace, range(len(requests)), [replace(request, prompt=None) for request in requests])
    drafts: dict[str, Recording] = {}
    for name, drafter in drafters_of(scenario).items():
        if name in trace.drafts:
            drafts[name] = trace.drafts[name]
        elif drafter.lookup() is not None:
            read = reader(drafter, scenario.limits.batch)
            drafts[name] = Recording.of_runs(
                [read(texts, row, count).runs for row, count in enumerate(outputs)]
            )
    return replace(trace, drafts=drafts)


def _notes(scenario: Scenario, deployment: Deployment) -> Mapping[str, str]:
    packages = environment()["packages"]
    return {
        "dtype": scenario.models.target.dtype,
        "device": str(deployment.target.device.type),
        "torch": str(packages.get("torch", "")),
        "transformers": str(packages.get("transformers", "")),
        **{f"draft {name}": note for name, note in deployment.models.notes.items() if name != "target"},
    }
