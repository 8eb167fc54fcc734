"""``spinsim export``: a tuned plan or policy file in an engine's own terms, with predicted gains.

The schedule by batch is searched: at each batch every number of tokens is simulated with as many clients, and
the best goodput is taken. Gains are over no speculation at the same batch, in pairs of seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spinsim.engines import engine_of
from spinsim.engines.base import Engine, Exported
from spinsim.engines.plan import METHODS, Gain, Method, Plan, Step, Weights, merged
from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row, plan, rows_of
from spinsim.results.metrics import Metric, metric
from spinsim.scenario import ModelSpec, Scenario
from spinsim.scenario.messages import one_of
from spinsim.scenario_file import LoadedScenario, load
from spinsim.scenario_file.variants import override, seeds_from
from spinsim.studies.compare import Effect, effects
from spinsim.studies.export_schedule import fewest, gain_of, loss_of, one_for_all, steps_of

TOKENS = (1, 2, 3, 4, 5, 7)
NONE = "none"
# What engines do with every request alike: fused rounds of all rows, first come first served.
AS_ENGINES = (
    "policies.packing={name: ragged}",
    "policies.pipeline={name: serial}",
    "policies.composition={name: round_robin}",
    "policies.admission={name: fcfs}",
    "policies.switching=blocking",
)
STAND_INS = ("random", "embedded:")
BY_KIND = {"model": "draft_model", "head": "eagle3"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the engine cannot do, by its key, and the nearest that it can."""

    key: str
    what: str
    nearest: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.what}" + (f"; nearest: {self.nearest}" if self.nearest else "")


@dataclass(frozen=True, slots=True)
class Export:
    """A plan in an engine's terms. ``refused``: what of the scenario is not in it; ``loss`` is predicted."""

    scenario: str
    engine: str
    plan: Plan
    exported: Exported
    refused: tuple[Refusal, ...]
    loss: Gain | None
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to export. ``method``: the draft's, where its name does not say it. ``nearest``: take what can."""

    scenario: Path
    engine: str
    overrides: tuple[str, ...] = ()
    method: str | None = None
    nearest: bool = False
    schedule: bool = True
    tokens: tuple[int, ...] = TOKENS
    seeds: int = 5
    seed: int | None = None
    plugins: tuple[str, ...] = ()


def export(wanted: ExportPlan, lab: Lab) -> Export:
    """Raises InputError for what cannot be exported, with the nearest that can, unless it is to be taken."""
    engine = engine_of(wanted.engine)
    loaded = load(wanted.scenario, wanted.overrides)
    first = loaded.scenario.seed if wanted.seed is None else wanted.seed
    study = _Study(wanted, lab, tuple(seeds_from(first, wanted.seeds)), metric("goodput"))
    lab.store.write_manifest(
        "export", {"scenario": wanted.scenario.name, "engine": engine.name, "overrides": [*wanted.overrides]}
    )
    refused = refusals(loaded.scenario, engine)
    chosen, loss = study.own(loaded.scenario), None
    if refused:
        chosen, loss = study.nearest(loaded.scenario)
        refused = [replace(one, nearest=chosen.told) for one in refused]
        if not wanted.nearest:
            raise loaded.places.locate(
                InputError(
                    f"{engine.name} cannot: {refused[0].what}; nearest: {chosen.told}, predicted {loss} of "
                    "goodput; --nearest exports it",
                    key=refused[0].key,
                )
            )
    method = method_of(chosen.draft, wanted.method, engine, _kind(loaded.scenario, chosen.draft))
    steps: tuple[Step, ...]
    refused_schedule: list[Refusal] = []
    if wanted.schedule and chosen.draft != NONE:
        steps, refused_schedule = study.schedule(loaded.scenario, chosen, method, engine)
    else:
        steps = (Step(1, loaded.scenario.limits.batch, chosen.tokens),)
    whole = _plan(loaded, chosen, method, steps, loss)
    made = engine.limit(whole)
    if made.schedule != whole.schedule:
        refused_schedule.append(study.limited(engine, made.schedule))
    everything = (*refused, *refused_schedule)
    if everything:
        made = replace(made, origin=(*made.origin, *(f"not in it: {one}" for one in everything)))
    notes = ("fewer than 5 seeds have no interval",) if wanted.seeds < 5 else ()
    return Export(
        loaded.scenario.name,
        engine.name,
        made,
        engine.export(made),
        everything,
        loss,
        notes,
        tuple(study.rows),
    )


def refusals(scenario: Scenario, engine: Engine) -> list[Refusal]:
    """What of a scenario's policies and placement an engine cannot do."""
    policies, found = scenario.policies, []
    name = engine.name
    if policies.selector.name != "fixed":
        found.append(
            Refusal(
                "policies.selector",
                f"{name} has one draft for all requests, and no selector ({policies.selector.name})",
            )
        )
    if policies.length.name not in ("fixed", "per_draft", "none"):
        found.append(
            Refusal("policies.length", f"{name} has no length policy of this kind ({policies.length.name})")
        )
    if policies.packing.name != "ragged":
        found.append(Refusal("policies.packing", f"{name} packs rows raggedly, not {policies.packing.name}"))
    if policies.pipeline.name != "serial":
        found.append(Refusal("policies.pipeline", f"{name} drafts and verifies one after the other"))
    if policies.admission.name != "fcfs":
        found.append(Refusal("policies.admission", f"{name} serves first come, first served"))
    home = set(scenario.placement.target)
    used = _drafts_used(scenario)
    found += [
        Refusal(f"placement.drafts.{draft}", f"{name} runs a draft on the target's devices, not on {device}")
        for draft, device in scenario.placement.drafts.items()
        if device not in home and draft in used
    ][:1]
    return found


def method_of(draft: str, given: str | None, engine: Engine, kind: str = "model") -> Method:
    """How a draft drafts: ``given``, else what its name says, else as drafts of its ``kind`` do."""
    if draft == NONE:
        return "none"
    if given is None:
        given = next((name for name in METHODS if name == draft.lower()), BY_KIND.get(kind, kind))
    for name in METHODS:
        if name == given and (name in engine.methods):
            return name
    raise InputError(f"{engine.name} has no {given!r}; {one_of(list(engine.methods))}", key="--method")


def fixed(draft: str, tokens: int) -> tuple[str, ...]:
    """Overrides: this draft for all, so many tokens; none for :data:`NONE`."""
    if draft == NONE or not tokens:
        return (
            override("policies.selector", {"name": "fixed", "draft": NONE}),
            "policies.length={name: none}",
        )
    return (
        override("policies.selector", {"name": "fixed", "draft": draft}),
        override("policies.length", {"name": "fixed", "tokens": tokens}),
    )


def beside_target(scenario: Scenario) -> tuple[str, ...]:
    """Overrides: an engine's way to run rounds, every draft on the target's first device."""
    home = scenario.placement.target[0]
    moved = dict.fromkeys(scenario.placement.drafts, home)
    kept = {name: scenario.devices[name].model_dump(exclude_none=True) for name in scenario.placement.target}
    drafts = (override("placement.drafts", moved),) if moved else ()
    # A profile may not know the draft beside the target: the rest comes from sheets, and is labelled.
    sheets = ("costs.allow_roofline=true",) if scenario.costs.model == "profile" else ()
    return (*AS_ENGINES, *drafts, override("devices", kept), *sheets)


@dataclass(frozen=True, slots=True)
class _Chosen:
    draft: str
    tokens: int

    @property
    def told(self) -> str:
        return "no speculation" if self.draft == NONE else f"{self.draft} for all, {self.tokens} tokens"


@dataclass(slots=True)
class _Study:
    """Simulations of one export: alternatives in pairs of seeds."""

    wanted: ExportPlan
    lab: Lab
    seeds: tuple[int, ...]
    goodput: Metric
    rows: list[Row] = field(default_factory=list)
    table: dict[int, dict[int, Effect]] = field(default_factory=dict)  # by batch and tokens

    def own(self, scenario: Scenario) -> _Chosen:
        """What a plan of one fixed draft says itself."""
        policies = scenario.policies
        draft = str(policies.selector.params.get("draft", next(iter(scenario.models.drafts), NONE)))
        if draft == NONE or policies.length.name == "none":
            return _Chosen(NONE, 0)
        params = policies.length.params
        tokens = params.get("tokens", 4)
        if isinstance(tokens, dict):
            tokens = tokens.get(draft, params.get("default", 4))
        return _Chosen(draft, min(int(tokens), scenario.limits.max_length))

    def nearest(self, scenario: Scenario) -> tuple[_Chosen, Gain]:
        """The best of what engines do at the scenario's own load, and its goodput against the plan's."""
        base = beside_target(scenario)
        choices = [
            _Chosen(NONE, 0),
            *(_Chosen(d, t) for d in scenario.models.drafts for t in self._tokens(scenario)),
        ]
        found = self._compare(
            {"plan": (), **{c.told: (*base, *fixed(c.draft, c.tokens)) for c in choices}}, "plan"
        )
        best = max(choices, key=lambda choice: found[choice.told].mean.estimate)
        return best, gain_of(found[best.told])

    def schedule(
        self, scenario: Scenario, chosen: _Chosen, method: Method, engine: Engine
    ) -> tuple[tuple[Step, ...], list[Refusal]]:
        """The best tokens at each batch, and what of it the engine cannot do."""
        base = beside_target(scenario)
        tokens = self._tokens(scenario, chosen.tokens)
        table = self.table
        for batch in batches_up_to(scenario.limits.batch):
            load_ = (*base, *clients(scenario, batch))
            alternatives = {str(n): (*load_, *fixed(chosen.draft, n)) for n in (0, *tokens)}
            found = self._compare(alternatives, "0", {"batch": batch})
            table[batch] = {n: found[str(n)] for n in (0, *tokens)}
        best = {batch: fewest(row) for batch, row in table.items()}
        if len(set(best.values())) > 1 and method not in engine.schedules:
            one, loss, where = one_for_all(table)
            allowed = ", ".join(engine.schedules)
            refusal = Refusal(
                "schedule",
                f"{engine.name} has tokens by batch for {allowed} alone, not for {method}",
                f"{one} tokens for every batch, predicted loss at most {100 * loss:.1f} % (batch {where})",
            )
            return steps_of(table, dict.fromkeys(best, one)), [refusal]
        return steps_of(table, best), []

    def limited(self, engine: Engine, schedule: Sequence[Step]) -> Refusal:
        """That the engine takes no such schedule, the one that it takes, and what is lost."""
        losses = {}
        for step in schedule:
            for batch, row in self.table.items():
                if step.first <= batch <= step.last:
                    losses[batch] = loss_of(row, step.tokens)
        where = max(losses, key=lambda batch: losses[batch])
        told = ", ".join(f"{step.tokens} up to batch {step.last}" for step in schedule)
        return Refusal(
            "schedule",
            f"{engine.name} drafts most at the smallest batch",
            f"{told}, predicted loss at most {100 * losses[where]:.1f} % (batch {where})",
        )

    def _tokens(self, scenario: Scenario, own: int = 0) -> tuple[int, ...]:
        most = scenario.limits.max_length
        return tuple(sorted({n for n in (*self.wanted.tokens, own) if 0 < n <= most}))

    def _compare(
        self, alternatives: dict[str, tuple[str, ...]], baseline: str, labels: dict[str, int] | None = None
    ) -> dict[str, Effect]:
        cells = [
            plan(
                self.wanted.scenario,
                [*self.wanted.overrides, *overrides, f"seed={seed}"],
                {"alternative": name, **(labels or {})},
                self.wanted.plugins,
            )
            for seed in self.seeds
            for name, overrides in alternatives.items()
        ]
        rows = self._simulated(cells)
        found = effects(rows, list(alternatives), baseline, [self.goodput])
        return {name: effect[0] for name, effect in found.items()}

    def _simulated(self, cells: Sequence[Planned]) -> list[Row]:
        rows = rows_of(cells, self.lab.evaluate(planned.cell for planned in cells))
        failed = next((row for row in rows if row.summary is None), None)
        if failed is not None:
            raise InputError(f"a simulation failed: {failed.error}", key="export")
        self.rows += rows
        return rows


def batches_up_to(most: int) -> list[int]:
    """1, 2, 4 ... and ``most`` itself."""
    found, batch = [], 1
    while batch < most:
        found.append(batch)
        batch *= 2
    return [*found, most]


def clients(scenario: Scenario, batch: int) -> tuple[str, ...]:
    """Overrides: ``batch`` clients that keep as many requests running."""
    requests = max(8, 3 * batch)
    if scenario.workload.source is not None and scenario.workload.requests is not None:
        requests = max(batch, min(requests, scenario.workload.requests))
    return (
        override("workload.arrivals", {"process": "closed", "concurrency": batch}),
        f"workload.requests={requests}",
        f"limits.batch={batch}",
    )


def _drafts_used(scenario: Scenario) -> set[str]:
    draft = scenario.policies.selector.params.get("draft")
    fixed_one = scenario.policies.selector.name == "fixed"
    if fixed_one and draft is not None:
        return {str(draft)}
    return set(scenario.models.drafts)


def _plan(
    loaded: LoadedScenario, chosen: _Chosen, method: Method, steps: tuple[Step, ...], loss: Gain | None
) -> Plan:
    scenario = loaded.scenario
    origin = [
        f"{scenario.name}: {method}" + ("" if chosen.draft == NONE else f" ({chosen.draft})"),
        f"costs: {scenario.costs.model}; acceptance: {scenario.acceptance.model}",
        "predicted, not measured in the engine",
    ]
    if loss is not None:
        origin.append(f"predicted {loss} of goodput against the plan as written")
    return Plan(
        _weights(scenario.models.target),
        method,
        _weights_of_draft(scenario, chosen.draft, method),
        merged(steps),
        len(scenario.placement.target),
        tuple(origin),
    )


def _kind(scenario: Scenario, draft: str) -> str:
    spec = scenario.models.drafts.get(draft)
    return "model" if spec is None else spec.kind


def _weights_of_draft(scenario: Scenario, draft: str, method: Method) -> Weights | None:
    """None: there are none. A scenario knows no weights of a head: its name stands for them."""
    if draft == NONE or method == "ngram":
        return None
    model = scenario.models.draft_models.get(draft)
    return Weights(draft, True) if model is None else _weights(model)


def _weights(spec: ModelSpec) -> Weights:
    if spec.weights.startswith(STAND_INS):
        return Weights(spec.shape, True)
    return Weights(spec.weights)
