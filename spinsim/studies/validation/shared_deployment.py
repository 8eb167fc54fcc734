"""One deployment, and what its cells share: predictors, prompts, the trace of what they generate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import priced_alike
from spinsim.costs.profiled.profile import read_profile
from spinsim.drafters.costs import build_predictor
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.field import is_given
from spinsim.live.machine import this_machine
from spinsim.live.places import torch_device
from spinsim.live.prompts import Prompted, materialise
from spinsim.packings import executed_by
from spinsim.profiling.drift import TOLERANCE, drifted
from spinsim.profiling.timing import QUICK, Effort
from spinsim.profiling.workplace import Workplace
from spinsim.progress import Progress
from spinsim.recording import load_trace, save_trace
from spinsim.scenario import KvSpec, ProfileCosts, Scenario, TraceAcceptance
from spinsim.serving import trusting
from spinsim.studies.recorder import require_recordable
from spinsim.studies.trace import record_requests
from spinsim.studies.validation.fit_workload import first, least, predicted_s, without_domains
from spinsim.studies.validation.plan import Cell, deployed_scenario
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Request
from spinsim.workload.source import resolve

Numbers = dict[str, Any]

DRIFT_POINTS = 5
ROOM = 1.5  # times the allowed seconds: as much of a workload is recorded, since acceptance is not yet known


class Arena:
    """Models are loaded, drift is measured and the trace recorded when the first cell needs them.

    ``folder`` is where the trace is kept; ``seconds`` is the longest live run of a cell. ``deployed``: the
    models, where they are loaded already. ``wall_s``: seconds by what they went into.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        folder: Path,
        seconds: float,
        progress: Progress | None,
        deployed: Deployment | None = None,
    ) -> None:
        self.scenario = deployed_scenario(cells)
        self.base_dir = cells[0].loaded.base_dir
        self.progress = progress
        self.drift: list[Numbers] | None = None
        self.wall_s: dict[str, float] = {}
        self._cells = cells
        self._seconds = seconds
        self._folder = folder
        self._trace_path = folder / "trace.npz"
        self._predictors: dict[str, Predictor] = {}
        self._prompted: dict[str, Prompted] = {}
        self._predicted_s: dict[str, float] = {}
        self._lengths: dict[str, int] = {}
        self._deployed = deployed

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Counts the time within as ``what``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.wall_s[what] = self.wall_s.get(what, 0.0) + time.perf_counter() - began

    @cached_property
    def deployment(self) -> Deployment:
        """The models of all cells."""
        if self._deployed is not None:
            return self._deployed
        planned = [cell.loaded.scenario.policies.packing for cell in self._cells]
        executed = [name for one in planned for name in executed_by(one.name, one.params.get("among"))]
        packings = tuple(dict.fromkeys(executed))
        with self.spending("deploy"):
            return deploy(self.scenario, self.base_dir, self.progress, packings=packings)

    @cached_property
    def machine(self) -> Numbers:
        """Which one this is."""
        return this_machine(torch_device(self.scenario, self.scenario.placement.target[0])).told()

    def close(self) -> None:
        """End what it deployed itself."""
        if self._deployed is None and "deployment" in self.__dict__:
            self.deployment.close()

    def prepare(self) -> None:
        """Everything that comes before the first run, once."""
        if self.drift is not None:
            return
        for cell in self._cells:
            if not _known_before(cell.loaded.scenario):
                require_recordable(cell.loaded.scenario)
        deployment = self.deployment
        with self.spending("drift"):
            self.drift = self._measure_drift(deployment)
        self._record([cell.loaded.scenario for cell in self._cells])

    def predictor(self, scenario: Scenario) -> Predictor:
        """Fitting a profile takes a while: once for all cells of the same costs.

        Beyond the profile the roofline answers here, whatever the scenario allows: live runs need no cost,
        and what may be predicted is the simulated half's question.
        """
        scenario = trusting(scenario)
        key = priced_alike(scenario)
        if key not in self._predictors:
            with self.spending("fit profile"):
                self._predictors[key] = build_predictor(scenario, self.base_dir)
        return self._predictors[key]

    def _measure_drift(self, deployment: Deployment) -> list[Numbers]:
        """Five points of the profile measured again, before anything runs."""
        costs = self.scenario.costs
        if not isinstance(costs, ProfileCosts):
            return []
        known = read_profile(resolve(costs.path, self.base_dir, "costs.path"))
        with Workplace(self.scenario, self.base_dir, deployment) as place:
            probes = [p for quick in (False, True) for p in place.design(quick=quick).core]
            effort = QUICK if deployment.target.device.type == "cpu" else Effort()
            found = drifted(known, place.bench, probes, effort, most=DRIFT_POINTS)
        return [
            asdict(point) | {"factor": point.factor, "moved": abs(point.factor - 1) > TOLERANCE}
            for point in found.points
        ]

    def prompted(self, scenario: Scenario) -> Prompted:
        """The scenario's workload with its tokens, cut to what may be of use; named by its prompts.

        Useful is what is predicted to run within ``ROOM`` times the allowed seconds with the scenario's own
        acceptance: recording more would take time for nothing. Once the trace is there, what it lacks is cut
        off.
        """
        made = self._useful(scenario)
        if _known_before(scenario) or not self._lengths:
            return made
        return first(made, self._known(scenario, made))

    def _known(self, scenario: Scenario, made: Prompted) -> int:
        """How many of the first requests were recorded, or will be kept out for their length."""
        for count, request in enumerate(made.workload.requests):
            fits = request.prompt_tokens + request.output_tokens <= scenario.limits.context_tokens
            recorded = self._lengths.get(request.key, 0)
            if fits and recorded < request.output_tokens and (request.id not in made.stops or not recorded):
                return count
        return len(made.workload.requests)

    def _useful(self, scenario: Scenario) -> Prompted:
        made = self._materialised(scenario)
        seconds = self.predicted_s(scenario)
        count = len(made.workload.requests)
        kept = max(least(scenario, made), round(count * ROOM * self._seconds / seconds)) if seconds else count
        return first(made, min(kept, count))

    def predicted_s(self, scenario: Scenario) -> float:
        """Seconds that the whole workload is predicted to take with the scenario's own acceptance."""
        key = scenario.model_dump_json(exclude={"name", "description"})
        if key not in self._predicted_s:
            made, predictor = self._materialised(scenario), self.predictor(scenario)
            with self.spending("fit workload"):
                self._predicted_s[key] = predicted_s(scenario, self.base_dir, made, predictor)
        return self._predicted_s[key]

    def _materialised(self, scenario: Scenario) -> Prompted:
        """Every request with its tokens: once for all policies that serve the same workload."""
        key = scenario.model_dump_json(exclude={"name", "description", "policies"})
        if key not in self._prompted:
            with self.spending("prompts"):
                self._prompted[key] = self._made(scenario)
        return self._prompted[key]

    def _made(self, scenario: Scenario) -> Prompted:
        target = self.deployment.models.target
        made = materialise(scenario, build_workload(scenario, self.base_dir), target)
        if _known_before(scenario):
            return made  # its keys are those that the acceptance knows
        limit = scenario.limits.context_tokens
        requests = tuple(
            request
            if request.prompt_tokens + request.output_tokens > limit
            else replace(request, key=_name(made.prompts[request.id]))
            for request in made.workload.requests
        )
        return replace(made, workload=replace(made.workload, requests=requests))

    def _record(self, scenarios: Sequence[Scenario]) -> None:
        """The trace of everything that cells without a trace of their own will serve.

        It is named by what it is to hold: a session that goes on with a folder finds it there.
        """
        wanted: dict[str, Request] = {}
        prompts: dict[int, Sequence[int]] = {}
        stops: set[int] = set()
        end_of_text: frozenset[int] = frozenset()
        for scenario in scenarios:
            if _known_before(scenario):
                continue
            made = self._useful(scenario)
            end_of_text = made.end_of_text
            for request in made.workload.requests:
                known = wanted.get(request.key)
                if not request.key or (known and known.output_tokens >= request.output_tokens):
                    continue
                if request.prompt_tokens + request.output_tokens > scenario.limits.context_tokens:
                    continue
                number = known.id if known else len(wanted)
                wanted[request.key] = replace(request, id=number)
                prompts[number] = made.prompts[request.id]
                if request.id in made.stops:
                    stops.add(number)
        if not wanted or not self.deployment.drafts:
            return
        # Without end-of-text: how far each request goes is the cell's business.
        whole = Prompted(build_workload(scenarios[0], self.base_dir), prompts, frozenset(stops), end_of_text)
        self._trace_path = self._folder / f"trace-{_digest(self.scenario, wanted, stops)}.npz"
        with self.spending("trace"):
            if self._trace_path.is_file():
                trace = load_trace(self._trace_path)
            else:
                trace = record_requests(self.scenario, self.deployment, whole, wanted, self.progress)
                save_trace(trace, self._trace_path)
        self._lengths = dict(zip(trace.keys, trace.output_tokens().tolist(), strict=True))

    def simulated(self, scenario: Scenario, prompted: Prompted) -> tuple[Scenario, Prompted]:
        """The scenario and workload as the simulated world is given them.

        Its memory is what the live deployment has, its acceptance recorded, and an output that stops
        early is as long as it will be.
        """
        tokens = self.deployment.kv_tokens
        drafts = [tokens[name] for name in scenario.models.drafts if name in tokens]
        kv = KvSpec(
            **scenario.kv.model_dump(exclude={"target_tokens", "draft_tokens"}),
            target_tokens=tokens["target"],
            draft_tokens=min(drafts, default=None),
        )
        changed: dict[str, Any] = {"kv": kv}
        if not _known_before(scenario) and self._lengths:
            changed["acceptance"] = TraceAcceptance(model="trace", path=str(self._trace_path.resolve()))
            prompted = self._ended(prompted)
        return without_domains(scenario).model_copy(update=changed), prompted

    def _ended(self, prompted: Prompted) -> Prompted:
        """Outputs that may stop are as long as they were when recorded."""

        def ended(request: Request) -> Request:
            length = self._lengths.get(request.key, request.output_tokens)
            if request.id not in prompted.stops or length >= request.output_tokens:
                return request
            return replace(request, output_tokens=length)

        workload = prompted.workload
        return replace(prompted, workload=replace(workload, requests=tuple(map(ended, workload.requests))))


def _known_before(scenario: Scenario) -> bool:
    """Does the scenario say itself what is accepted, so that nothing has to be recorded?"""
    return isinstance(scenario.acceptance, TraceAcceptance) or is_given(scenario)


def _name(prompt: Sequence[int]) -> str:
    return sha256(",".join(map(str, prompt)).encode()).hexdigest()[:16]


def _digest(scenario: Scenario, wanted: Mapping[str, Request], stops: AbstractSet[int]) -> str:
    """Of the models and of every request that is asked for."""
    deployed = scenario.model_dump_json(include={"models", "sampling", "seed", "live", "limits"})
    requests = [(key, request.output_tokens, request.id in stops) for key, request in wanted.items()]
    return sha256(f"{deployed}/{sorted(requests)}".encode()).hexdigest()[:12]
