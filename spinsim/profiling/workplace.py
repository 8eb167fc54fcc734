"""A deployment on the bench: what is measured of it, and what the scenario says about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from spinsim.buckets import PROMPT_TOKENS
from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import ModelOnDevices, build_profiled, build_roofline, models_on_devices
from spinsim.costs.profiled.profile import SCHEMA, Point, Profile, ProfiledModel
from spinsim.costs.roofline import RooflineLoads
from spinsim.costs.sheets.shapes import ModelShape
from spinsim.drafters.costs import mixed
from spinsim.drafters.for_scenario import lookups_of, models_alone
from spinsim.errors import InputError
from spinsim.live.deployment import TARGET, Deployment
from spinsim.live.field import repeated_acceptance
from spinsim.live.quiet_interpreter import quiet
from spinsim.packings import kinds, packing_kind
from spinsim.policies.build import KINDS, with_selector
from spinsim.profiling.bench import Bench
from spinsim.profiling.design import Design, Range, design
from spinsim.profiling.host import hop_point, planning_point
from spinsim.profiling.machine import clocks, now_utc, versions
from spinsim.profiling.probes import Probe
from spinsim.profiling.rehearsal import (
    Orchestration,
    Rehearsed,
    handling_points,
    handover_points,
    in_run_points,
    rehearse,
)
from spinsim.profiling.sums import sum_points
from spinsim.runner.loaded_model import LoadedModel
from spinsim.scenario import PolicyChoice, RooflineCosts, Scenario
from spinsim.serving import Layout, assemble, lay_out

REHEARSED_TOKENS = 96  # of an output in a rehearsal, in the mean
# Selectors whose thinking every full profile knows, beside one fixed draft.
THINKERS = ("spin", "joint", "planned")
PLANNED_CONTEXTS = (256, 1024, 4096, 16384)  # of the longest row, as far as a scenario's limits go


@dataclass(frozen=True)
class Subject:
    """What is profiled. ``drafts`` maps a profile's model key to a draft of that shape."""

    models: dict[str, ProfiledModel]
    target: str
    drafts: dict[str, int]
    by_draft: tuple[str, ...]  # the key of each draft of the scenario


class Workplace:
    """A deployment on the bench, and what the scenario says about it."""

    def __init__(self, scenario: Scenario, base_dir: Path, deployment: Deployment) -> None:
        self.whole = scenario
        scenario = models_alone(scenario)  # the others are measured by themselves, and in short runs
        self.scenario, self.base_dir, self.deployment = scenario, base_dir, deployment
        self.lanes_of_drafts = lay_out(self.whole).draft_lanes
        self.layout: Layout = _of_models(self.whole)
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
        return self.deployment.target.graphs

    @property
    def prompt_graphs(self) -> bool:
        """Does it so for prefill, and drafts for catch-up?"""
        return self.deployment.target.prompt_graphs

    def empty_profile(self) -> Profile:
        """A profile of this machine without points."""
        device = self.deployment.target.device
        hardware = self.scenario.devices[self.scenario.placement.target[0]].hardware_name
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
            prompt_tokens=PROMPT_TOKENS,
            rehearsed_tokens=REHEARSED_TOKENS,
            kv_block_tokens=self.scenario.kv.paged_by,
        )

    def require_same_models(self, known: Profile, file: str) -> None:
        """Raises InputError where a profile was measured for other models."""
        missing = sorted(set(self.subject.models) - set(known.models))
        if missing:
            raise InputError(
                f"{missing[0]} is not in it; a profile of this scenario's models", key="models", file=file
            )

    def design(self, *, quick: bool, packings: tuple[str, ...] | None = None) -> Design:
        """Probes of the scenario's models within its limits."""
        limits = self.scenario.limits
        return design(
            self.subject.target,
            self.subject.drafts,
            Range(self.batch, limits.context_tokens, limits.max_length, limits.prefill_chunk_tokens),
            packings or kinds(),
            graphs=dict.fromkeys(self.subject.models, self.graphs),
            prompt_graphs=self.prompt_graphs,
            kv_tokens=self.kv_tokens,
            quick=quick,
        )

    @property
    def kv_tokens(self) -> dict[str, int]:
        """K/V memory of every model that is measured, in tokens, by its key in the profile."""
        held, names = self.deployment.kv_tokens, list(self.scenario.models.draft_models)
        drafts = {model: held[names[draft]] for model, draft in self.subject.drafts.items()}
        return {**drafts, self.subject.target: held[TARGET]}

    def loads(self) -> RooflineLoads:
        """What operations ask of the devices that they run on."""
        costs = RooflineCosts(model="roofline", graphs=self.graphs)
        return RooflineLoads(build_roofline(self.scenario, self.base_dir, costs))

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
        drafts = [*self.scenario.models.drafts, *self.whole.models.drafts]
        if not drafts:
            return {"fixed": PolicyChoice.model_validate({"name": "fixed", "draft": "none"})}
        given = self.whole.policies.selector
        one = PolicyChoice.model_validate({"name": "fixed", "draft": drafts[0]})
        own = one if getattr(KINDS["selector"].get(given.name), "sees_future", False) else given
        others = [] if quick else [one, *(PolicyChoice(name=name) for name in THINKERS)]
        return {choice.name: choice for choice in (*others, own)}

    @property
    def batch(self) -> int:
        """Rows that a run can have at once."""
        return min(self.scenario.limits.batch, *self.deployment.kv_slots.values())

    def sums(self) -> Iterator[Point]:
        """All-reduces of the target's hidden states, up to those of a chunk of prompts."""
        hidden, limits = int(self.deployment.models.target.config.hidden_size), self.scenario.limits
        devices = len(self.scenario.placement.target)
        most = min(PROMPT_TOKENS, limits.prefill_chunk_tokens)
        return sum_points(self.deployment.target, devices, hidden, most)

    def hop(self) -> Point:
        """Between the engine's thread and a lane's, in rounds of middling size."""
        return hop_point(self.bench, max(1, self.batch // 2), self.scenario.limits.context_tokens // 2)

    def planned(self, profile: Profile, packings: Sequence[str]) -> Iterator[Point]:
        """What plans of packings that are searched for take the host, which believes in ``profile``."""
        predictor = build_profiled(self.scenario, self.base_dir, profile, allow_roofline=True)
        limits = self.scenario.limits
        contexts = sorted({min(most, limits.context_tokens - limits.max_length) for most in PLANNED_CONTEXTS})
        for name in (name for name in packings if packing_kind(name).divided):
            chosen = self.scenario.policies.model_copy(update={"packing": PolicyChoice(name=name)})
            scenario = self.scenario.model_copy(update={"policies": chosen})
            serving = assemble(scenario, self.base_dir, predictor, self.deployment.kv_tokens)
            for rows, context in product(sorted({1, max(1, self.batch // 4), self.batch}), contexts):
                packing, length = serving.policies.packing, limits.max_length
                yield planning_point(self.bench, packing, name, rows, context, length)

    def rehearsed(
        self,
        profile: Profile,
        selectors: Mapping[str, PolicyChoice],
        *,
        runs: int,
        left: Callable[[float], None] = lambda _: None,
        wanted: Callable[[str], bool] = lambda _: True,
    ) -> Iterator[Point]:
        """What short runs with each selector show beside ``profile``, which policies believe in.

        ``left`` hears the share that is still to come. ``wanted`` is asked before each selector's runs.
        """
        if not selectors:
            return
        models_predictor = build_profiled(self.scenario, self.base_dir, profile, allow_roofline=True)
        predictor = mixed(models_predictor, self.whole, self.base_dir)
        executor = self.deployment.executor(self.whole, self.layout.lanes)
        vocabulary = self.deployment.models.target.used_vocabulary
        by_name = dict(zip(self.scenario.models.drafts, self.subject.by_draft, strict=True))
        models = (*(by_name.get(name, "") for name in self.whole.models.drafts), self.subject.target)
        for number, (name, selector) in enumerate(selectors.items()):
            left(1 - number / len(selectors))
            if not wanted(name):
                continue
            setup = self.orchestration(selector, predictor)
            shown = Rehearsed([], [], [])
            for rows in sorted({1, max(1, self.batch // 4), self.batch}):
                once = rehearse(setup, executor, vocabulary, rows, runs, profile.rehearsed_tokens, predictor)
                shown = Rehearsed(
                    shown.handled + once.handled, shown.ran + once.ran, shown.handed_over + once.handed_over
                )
            yield from in_run_points(shown.ran, name, models)
            yield from handover_points(shown.handed_over, name)
            yield from handling_points(shown.handled, name)  # last: a resumed profile asks for these
        self.bench.share()

    def orchestration(self, selector: PolicyChoice, predictor: Predictor) -> Orchestration:
        """The engine with the scenario's other policies; they believe in ``predictor``.

        It is serial, so that rounds have the rows that are asked for. A selector that plans decides the
        length, the packing and the composition too: it then thinks as much as it does in a run.
        """
        changed = {"pipeline": PolicyChoice(name="serial")}
        if getattr(KINDS["selector"].get(selector.name), "makes_plan", False) is True:
            followers = ("length", "packing", "composition")
            changed |= dict.fromkeys(followers, PolicyChoice(name="planned"))
        policies = with_selector(self.whole.policies, selector).model_copy(update=changed)
        scenario = self.whole.model_copy(update={"policies": policies})
        return Orchestration(
            lambda: assemble(scenario, self.base_dir, predictor, self.deployment.kv_tokens),
            self.deployment.paging,
            scenario.limits.context_tokens,
            lambda positions: repeated_acceptance(scenario, self.base_dir, positions),
            lookups_of(scenario),
        )


def _of_models(scenario: Scenario) -> Layout:
    """All lanes of the scenario, and which of them its models run on."""
    layout, alone = lay_out(scenario), models_alone(scenario).models.drafts
    at = [number for number, name in enumerate(scenario.models.drafts) if name in alone]
    return layout._replace(
        draft_lanes=tuple(layout.draft_lanes[number] for number in at),
        remote=tuple(layout.remote[number] for number in at),
    )


def _subject(scenario: Scenario, base_dir: Path, deployment: Deployment) -> Subject:
    models: dict[str, ProfiledModel] = {}

    def enter(model: ModelOnDevices, loaded: LoadedModel) -> str:
        """The profile's name for a model; models of one shape on as many devices share it."""
        shape, dtype, hardware, devices = model.shape, model.dtype, model.hardware.name, len(model.devices)
        _require_shape(shape, loaded, model.key)
        if Path(shape.source).is_file():  # a path of this machine says nothing elsewhere
            shape = replace(shape, source="config.json of the weights")
        profile = Profile(SCHEMA, hardware, "", False, {}, {}, models, ())
        known = profile.find_model(shape, dtype, hardware, devices)
        if known is not None:
            return known
        place = f"{dtype}/{hardware}" if devices == 1 else f"{dtype}/{hardware} x{devices}"
        name, number = f"{shape.name}/{place}", 1
        while name in models:  # another shape of this name
            number += 1
            name = f"{shape.name}-{number}/{place}"
        models[name] = ProfiledModel(shape, dtype, hardware, devices)
        return name

    keys: list[str] = []
    drafts: dict[str, int] = {}
    for index, model in enumerate(models_on_devices(scenario, base_dir), start=-1):
        loaded = deployment.models.target if index < 0 else deployment.models.drafts[model.name]
        keys.append(enter(model, loaded))
        if index >= 0:
            drafts.setdefault(keys[-1], index)
    return Subject(models, keys[0], drafts, tuple(keys[1:]))


def _require_shape(shape: ModelShape, loaded: LoadedModel, key: str) -> None:
    """Raises InputError where the weights that run are not of the shape that would be charged."""
    config = loaded.config
    pairs = (
        ("layers", shape.layers, loaded.layers),
        ("hidden size", shape.hidden, config.hidden_size),
        ("heads", shape.heads, loaded.heads),
        ("key/value heads", shape.kv_heads, loaded.kv_heads),
        ("vocabulary", shape.vocab, config.vocab_size),
    )
    for what, said, found in pairs:
        if said != found:
            raise InputError(
                f"{shape.name} has {what} {said}, the weights have {found}; "
                "allowed: the config.json of the weights, or weights of this shape",
                key=f"{key}.shape",
            )
