"""``spinsim profile``: this machine, measured for a scenario's models through the live runners."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spinsim.costs.base import Predictor
from spinsim.costs.build import (
    build_profiled,
    build_roofline,
    device_hardware,
    draft_shapes,
    target_hardware,
    target_shape,
)
from spinsim.costs.profile import SCHEMA, Point, Profile, ProfiledModel, Repeat, read_profile, write_profile
from spinsim.costs.shapes import ModelShape
from spinsim.errors import InputError
from spinsim.experiments.assemble import Layout, engine_settings, lay_out, policies_for
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.models import other_hardware
from spinsim.live.quiet import quiet
from spinsim.live.runner.graphed import GraphedRunner
from spinsim.live.runner.loading import LoadedModel
from spinsim.policies.build import KINDS
from spinsim.profiling.adaptive import fits_of, report
from spinsim.profiling.bench import Bench
from spinsim.profiling.design import Design, Range, design
from spinsim.profiling.drift import Drift, drifted
from spinsim.profiling.host import hop_point, transfer_point
from spinsim.profiling.machine import clocks, machine_points, now_utc, versions
from spinsim.profiling.probes import Probe
from spinsim.profiling.rehearsal import (
    Orchestration,
    Rehearsed,
    handling_points,
    host_factors,
    in_run_points,
    rehearse,
)
from spinsim.profiling.session import Session
from spinsim.profiling.sharing import shared_device, slowdown_points, usual_pairs
from spinsim.profiling.timing import QUICK, Effort
from spinsim.scenario import PolicyChoice, RooflineCosts, Scenario
from spinsim.scenario_file import LoadedScenario

Progress = Callable[[str, float, float], None]

THINKERS = ("spin", "joint")  # selectors whose thinking every full profile knows, beside one fixed draft
PACKINGS = ("padded", "decomposed", "ragged")
QUICK_S, FULL_S = 45.0, 300.0


@dataclass(frozen=True)
class Subject:
    """What is profiled. ``drafts`` maps a profile's model key to a draft of that shape."""

    models: dict[str, ProfiledModel]
    target: str
    drafts: dict[str, int]
    by_draft: tuple[str, ...]  # the key of each draft of the scenario


@dataclass(frozen=True)
class Profiled:
    """``fits``: held-out errors by operation, a row each. ``seconds``: how long this session took."""

    profile: Profile
    path: Path
    fits: list[dict[str, Any]]
    seconds: float
    added: int


def profile(
    loaded: LoadedScenario,
    out: Path | None = None,
    *,
    quick: bool = False,
    resume: bool = False,
    force: bool = False,
    budget_s: float | None = None,
    packings: tuple[str, ...] = PACKINGS,
    progress: Progress | None = None,
) -> Profiled:
    """Deploy the scenario's models, measure, and write the profile as it grows.

    ``resume`` goes on with the file at ``out``, whose machine and models must be these. ``budget_s``
    bounds the measuring (not the loading); the core of the design is measured even beyond it.
    Raises InputError where ``out`` exists and neither ``resume`` nor ``force`` is given, and where the
    machine is not the hardware that the scenario names: the file would say what is not so.
    """
    scenario = loaded.scenario
    _require_named_hardware(scenario)
    path = out or default_path(scenario)
    if path.exists() and not (resume or force):
        raise InputError(
            "exists already; --resume goes on with it, --force begins anew, --out names another file",
            file=str(path),
        )
    deployment = deploy(scenario, loaded.base_dir, progress, packings=packings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Workplace(scenario, loaded.base_dir, deployment) as place:
        begun = place.empty_profile()
        if resume and path.exists():
            begun = _continued(read_profile(path), begun, path)
        session = Session(begun, path, QUICK if quick else Effort(), place.guess(), progress)
        points = len(begun.points)
        try:
            _measure(session, place, quick, budget_s or (QUICK_S if quick else FULL_S), packings)
        finally:
            session.write()
    fits = report(fits_of(session.profile))
    return Profiled(session.profile, path, fits, session.elapsed_s, len(session.profile.points) - points)


def again(loaded: LoadedScenario, path: Path, progress: Progress | None = None) -> Drift:
    """Measure a few points of every operation and the host again, and note in the profile how they differ.

    Done in other processes and on other days, this is what intervals are estimated from.
    """
    known = read_profile(path)
    _require_named_hardware(loaded.scenario)
    deployment = deploy(loaded.scenario, loaded.base_dir, progress)
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        place.require_same_models(known, str(path))
        drift = drifted(known, place.bench, place.design(quick=False).core, Effort(), per_fit=4)
        points = (place.hop(), *place.rehearsed(known, place.selectors(quick=True), runs=1))
    drift = replace(drift, host=host_factors(known.points, points))
    repeat = Repeat(now_utc(), drift.factors, points)
    write_profile(replace(known, repeats=(*known.repeats, repeat)), path)
    return drift


def _require_named_hardware(scenario: Scenario) -> None:
    for device, why in other_hardware(scenario).items():
        raise InputError(why, key=f"devices.{device}.hardware")


def default_path(scenario: Scenario) -> Path:
    """``profiles/NAME-HARDWARE.json``, with the number of devices where there are several."""
    used = {*scenario.placement.target, *scenario.placement.drafts.values()}
    hardware = scenario.devices[scenario.placement.target[0]].hardware
    several = f"-x{len(used)}" if len(used) > 1 else ""
    return Path("profiles") / f"{scenario.name}-{re.sub(r'[^a-zA-Z0-9]+', '-', hardware)}{several}.json"


class Workplace:
    """A deployment on the bench, and what the scenario says about it."""

    def __init__(self, scenario: Scenario, base_dir: Path, deployment: Deployment) -> None:
        self.scenario, self.base_dir, self.deployment = scenario, base_dir, deployment
        self.layout: Layout = lay_out(scenario)
        self.subject = _subject(scenario, base_dir, deployment)
        self.bench = Bench(
            scenario, deployment, self.layout.lanes, self.layout.target_lane, self.layout.draft_lanes
        )
        self._quiet = quiet()

    def __enter__(self) -> Workplace:
        self._quiet.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._quiet.__exit__(None, None, None)
        self.bench.close()

    @property
    def graphs(self) -> bool:
        """Does the target replay CUDA graphs?"""
        runner = self.deployment.target
        return isinstance(runner, GraphedRunner) and runner.device.type == "cuda"

    @property
    def prompt_graphs(self) -> bool:
        """Does it so for prefill, and drafts for catch-up?"""
        runner = self.deployment.target
        return self.graphs and isinstance(runner, GraphedRunner) and runner.prompts is not None

    def empty_profile(self) -> Profile:
        """A profile of this machine without points."""
        device = self.deployment.target.device
        hardware = self.scenario.devices[self.scenario.placement.target[0]].hardware
        return Profile(
            schema=SCHEMA,
            hardware=hardware,
            created=now_utc(),
            graphs=self.graphs,
            prompt_graphs=self.prompt_graphs,
            versions=versions(device),
            clocks=clocks(device),
            models=self.subject.models,
            points=(),
        )

    def require_same_models(self, known: Profile, file: str) -> None:
        """Raises InputError where a profile was measured for other models."""
        missing = sorted(set(self.subject.models) - set(known.models))
        if missing:
            raise InputError(
                f"{missing[0]} is not in it; a profile of this scenario's models", key="models", file=file
            )

    def design(self, *, quick: bool, packings: tuple[str, ...] = PACKINGS) -> Design:
        """Probes of the scenario's models within its limits."""
        limits = self.scenario.limits
        rows = self.batch
        return design(
            self.subject.target,
            self.subject.drafts,
            Range(rows, limits.context_tokens, limits.max_length, limits.prefill_chunk_tokens),
            packings,
            graphs=dict.fromkeys(self.subject.models, self.graphs),
            prompt_graphs=self.prompt_graphs,
            quick=quick,
        )

    def guess(self) -> Callable[[Probe], float]:
        """A probe's seconds by hardware sheet, until something is measured."""
        roofline = build_roofline(
            self.scenario, self.base_dir, RooflineCosts(model="roofline", graphs=self.graphs)
        )

        def seconds(probe: Probe) -> float:
            rows, draft = probe.rows, probe.draft
            if probe.operation == "verify":
                return roofline.verify(probe.plan).seconds
            if probe.operation == "draft_step":
                return roofline.propose(draft, [1] * rows, probe.contexts).seconds
            new = [probe.tokens] * rows
            if probe.operation == "prefill":
                return roofline.prefill(new, probe.contexts).seconds
            return roofline.catch_up(draft, new, probe.contexts).seconds

        return seconds

    def selectors(self, *, quick: bool) -> dict[str, PolicyChoice]:
        """Those whose thinking is measured: the scenario's, and unless it is to be quick :data:`THINKERS`."""
        drafts = list(self.scenario.models.drafts)
        if not drafts:
            return {"fixed": PolicyChoice.model_validate({"name": "fixed", "draft": "none"})}
        given = self.scenario.policies.selector
        one = PolicyChoice.model_validate({"name": "fixed", "draft": drafts[0]})
        own = one if getattr(KINDS["selector"].get(given.name), "sees_future", False) else given
        others = [] if quick else [one, *(PolicyChoice(name=name) for name in THINKERS)]
        return {choice.name: choice for choice in (*others, own)}

    @property
    def batch(self) -> int:
        """Rows that a run can have at once."""
        return min(self.scenario.limits.batch, *self.deployment.kv_slots.values())

    def hop(self) -> Point:
        """Between the engine's thread and a lane's, in rounds of middling size."""
        return hop_point(self.bench, max(1, self.batch // 2), self.scenario.limits.context_tokens // 2)

    def rehearsed(
        self, profile: Profile, selectors: Mapping[str, PolicyChoice], *, runs: int
    ) -> Iterator[Point]:
        """What short runs with each selector show beside ``profile``, which policies believe in."""
        predictor = build_profiled(self.scenario, self.base_dir, profile, allow_roofline=True)
        vocabulary = self.deployment.models.target.used_vocabulary
        models = (*self.subject.by_draft, self.subject.target)
        for name, selector in selectors.items():
            setup = self.orchestration(selector, predictor)
            shown = Rehearsed([], [])
            for rows in sorted({1, max(1, self.batch // 4), self.batch}):
                once = rehearse(setup, self.bench.executor, vocabulary, rows, runs, predictor)
                shown = Rehearsed(shown.handled + once.handled, shown.ran + once.ran)
            yield from handling_points(shown.handled, name)
            yield from in_run_points(shown.ran, name, models)

    def orchestration(self, selector: PolicyChoice, predictor: Predictor) -> Orchestration:
        """The engine, serial, with the scenario's other policies; they believe in ``predictor``."""
        changed = {"selector": selector, "pipeline": PolicyChoice(name="serial")}
        policies = self.scenario.policies.model_copy(update=changed)
        scenario = self.scenario.model_copy(update={"policies": policies})
        return Orchestration(
            self.layout.lanes,
            tuple(scenario.models.drafts),
            engine_settings(scenario, self.layout, self.deployment.kv_tokens),
            lambda: policies_for(scenario, self.layout, predictor, self.base_dir),
        )


def _measure(
    session: Session, place: Workplace, quick: bool, budget_s: float, packings: tuple[str, ...]
) -> None:
    plan = place.design(quick=quick, packings=packings)
    session.report(budget_s)
    _measure_host(session, place, quick)
    session.measure(place.bench, plan.core, max(0.0, budget_s - session.elapsed_s) * 0.3)
    _rehearse(session, place, quick)
    _measure_sharing(session, place, plan, quick)
    session.refine(place.bench, plan.core, plan.candidates, budget_s)


def _rehearse(session: Session, place: Workplace, quick: bool) -> None:
    """Short runs with each selector whose thinking the profile has not yet."""
    known = {point.policy for point in session.profile.of("handling")}
    selectors = {name: choice for name, choice in place.selectors(quick=quick).items() if name not in known}
    for point in place.rehearsed(session.profile, selectors, runs=1 if quick else 2):
        session.add(point)


def _measure_host(session: Session, place: Workplace, quick: bool) -> None:
    """The machine's own points; those that a resumed profile has are kept."""
    known = session.profile
    effort = QUICK if quick else Effort()
    device = place.deployment.target.device
    if not known.of("matmul_rate"):
        for measured in machine_points(device, place.deployment.target.cache.dtype, effort):
            session.add(measured())
    if not known.of("hop"):
        session.add(place.hop())
    if not known.of("transfer") and any(place.layout.remote):
        draft = place.layout.remote.index(True)
        limits = place.scenario.limits
        shapes = sorted({(1, 1), (max(1, limits.batch // 4), 4), (limits.batch, limits.max_length)})
        for rows, length in shapes:
            session.add(transfer_point(place.bench, draft, rows, min(length, limits.max_length), effort))


def _measure_sharing(session: Session, place: Workplace, plan: Design, quick: bool) -> None:
    if session.profile.of("lane_slowdown"):
        return
    for model, draft in place.subject.drafts.items():
        if shared_device(place.bench, draft):
            for pair in usual_pairs(plan.core, place.scenario.policies.packing.name, draft):
                for point in slowdown_points(place.bench, model, *pair, QUICK if quick else Effort()):
                    session.add(point)


def _continued(known: Profile, begun: Profile, path: Path) -> Profile:
    """A profile to go on with. Raises InputError where it is of something else."""
    checks = (
        ("hardware", known.hardware, begun.hardware),
        ("graphs", known.graphs, begun.graphs),
        ("prompt_graphs", known.prompt_graphs, begun.prompt_graphs),
        ("versions.torch", known.versions.get("torch"), begun.versions.get("torch")),
        ("versions.device", known.versions.get("device"), begun.versions.get("device")),
    )
    for key, there, here in checks:
        if there != here:
            raise InputError(
                f"{there!r}, but this session has {here!r}; allowed: the same, or --force to begin anew",
                key=key,
                file=str(path),
            )
    return replace(known, models=begun.models | known.models)


def _subject(scenario: Scenario, base_dir: Path, deployment: Deployment) -> Subject:
    models: dict[str, ProfiledModel] = {}

    def enter(shape: ModelShape, dtype: str, hardware: str, loaded: LoadedModel, key: str) -> str:
        """The profile's name for a model; models of one shape share it."""
        _require_shape(shape, loaded, key)
        if Path(shape.source).is_file():  # a path of this machine says nothing elsewhere
            shape = replace(shape, source="config.json of the weights")
        known = Profile(SCHEMA, hardware, "", False, {}, {}, models, ()).find_model(shape, dtype, hardware, 1)
        if known is not None:
            return known
        name, number = f"{shape.name}/{dtype}/{hardware}", 1
        while name in models:  # another shape of this name
            number += 1
            name = f"{shape.name}-{number}/{dtype}/{hardware}"
        models[name] = ProfiledModel(shape, dtype, hardware)
        return name

    target = enter(
        target_shape(scenario, base_dir),
        scenario.models.target.dtype,
        target_hardware(scenario).name,
        deployment.models.target,
        "models.target",
    )
    drafts: dict[str, int] = {}
    keys = []
    for index, (name, shape) in enumerate(draft_shapes(scenario, base_dir).items()):
        hardware = device_hardware(scenario, scenario.placement.drafts[name], f"placement.drafts.{name}").name
        dtype, loaded = scenario.models.drafts[name].dtype, deployment.models.drafts[name]
        key = enter(shape, dtype, hardware, loaded, f"models.drafts.{name}")
        drafts.setdefault(key, index)
        keys.append(key)
    return Subject(models, target, drafts, tuple(keys))


def _require_shape(shape: ModelShape, loaded: LoadedModel, key: str) -> None:
    """Raises InputError where the weights that run are not of the shape that would be charged."""
    config = loaded.config
    pairs = (
        ("layers", shape.layers, loaded.layers),
        ("hidden size", shape.hidden, config.hidden_size),
        ("heads", shape.heads, loaded.heads),
        ("key/value heads", shape.kv_heads, loaded.kv_heads),
        ("vocabulary", shape.vocab, loaded.vocabulary),
    )
    for what, said, found in pairs:
        if said != found:
            raise InputError(
                f"{shape.name} has {what} {said}, the weights have {found}; "
                "allowed: the config.json of the weights, or weights of this shape",
                key=f"{key}.shape",
            )
